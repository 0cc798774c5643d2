"""`kubectl fakehw`: hands on the fake devices of every node of a cluster, and a receipt from each.

    cli         the command line                 changing    break, mend, set, plug, unplug: one request a node
    places      whose hands there are            showing     list, events and receipts, as people and programs read them
    hands       one connection to a hand         playing     a scenario over all nodes at once
    landing     did it arrive, and when          installing  the DaemonSet of the hands, after the plugin's
    receipts    arithmetic on receipts; pure

It builds on `fakehw` (paths, patterns, scenarios) and `kubeapi`, and neither knows it.
"""
