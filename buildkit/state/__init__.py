"""The project's own state in SQLite: fingerprints, traces, history; one writer, the main process."""
