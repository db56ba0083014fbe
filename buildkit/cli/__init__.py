"""The doit commands: parse options, call a lower layer, print. Thin."""
