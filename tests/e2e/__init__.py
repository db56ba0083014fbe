"""End-to-end tests: a real project in a temporary folder, the real doit, real processes."""
