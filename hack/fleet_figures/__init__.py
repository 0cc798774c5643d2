"""Measure a fleet on a real control plane: see `__main__`."""
