"""One module a command, or a family: `add(commands)` describes it, the coroutine that it names carries it out.

`listing` shows devices, `change` breaks, mends, sets, plugs and unplugs them, `events` tells what happens,
`scenario` plays faults, `hands` puts hands on nodes, `completion` serves shells. `command` and `cluster_flags` are
what they share.
"""
