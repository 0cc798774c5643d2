"""Mutants: change one thing in the code at a time, and see whether a test notices (`make mutants`)."""
