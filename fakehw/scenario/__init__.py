"""Timed faults.

`named` finds a `script`, which becomes a `timeline`; `player` plays it by a `playhead` and restores by `undo`;
`receipts` hold what `witnesses` say, `shown` is how both are printed. `fault_log` and `infinitehbd` read what happened
elsewhere, `synthesis` draws `outages` from published `figures`.
"""
