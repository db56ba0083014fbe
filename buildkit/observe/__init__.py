"""What happens in a run, for others: files, traces and metrics made of the engine's events."""
