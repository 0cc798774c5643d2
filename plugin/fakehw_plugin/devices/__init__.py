"""The state between the two rims.

Devices in inventories, those that left while held, what is told and counted of them.
"""
