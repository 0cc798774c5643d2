"""Timed faults.

`script` reads them, `timeline` plans, `player` plays and restores, `receipts` and `witnesses` say where they landed.
"""
