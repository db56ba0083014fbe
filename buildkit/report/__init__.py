"""Tables and exports that are read from the history; never imports the engine."""
