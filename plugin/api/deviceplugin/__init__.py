"""The device plugin API."""
