"""A Kubernetes device plugin for hardware that does not exist (see README.md). Importing the package loads nothing."""
