"""Action cache and content-addressed store: what a task made, by what it was made from."""
