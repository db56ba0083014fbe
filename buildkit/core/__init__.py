"""Data types, graph algorithms, digests, configuration, errors; imports no other layer of buildkit."""
