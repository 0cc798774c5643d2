"""The state between the tree and the rims.

pump            what happens in the tree, carried to the inventories
inventories     one inventory for each resource, opened and closed with the classes of the tree
inventory       the devices of one resource, and who wants to know of changes
retention       devices that left the tree while a pod held them
change_log      a line for each device that changed
telemetry       plain numbers, named by `metrics`
"""
