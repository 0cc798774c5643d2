"""`kubectl fakehw`: hands on the fake devices of every node of a cluster, and a receipt from each.

    cli         the list of commands             changing    break, mend, set, plug, unplug: one request a node
    commands    each on the command line         showing     list, events and receipts, as people and programs read them
    places      whose hands there are            playing     a scenario over all nodes at once
    hands       one connection to a hand         installing  the DaemonSet of the hands, after the plugin's
    landing     did it arrive, and when          completing  what may stand where TAB is pressed
    receipts    arithmetic on receipts; pure

It builds on `fakehw` (paths, patterns, scenarios) and `kubeapi`, and neither knows it.
"""
