"""One module a command: `add` describes it, `run` carries it out. What each does stands in the rooms below.

`build` `set_health` `plug` `unplug` change a tree, `list_devices` `events` `top` look on, `topology` shows specs,
`scenario` plays faults, with `fault_logs` for those of others, `demo` tells it all, `completion` serves shells.
"""
