"""buildkit: parallel, cached, self-measuring runs for any repository with a `dodo.py`.

What belongs here: the version, and the few names that a dodo.py may import.
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
