"""One run: scheduler, admission, executors, capture, signals. Knows nothing of doit."""
