"""The tree of files as devices, kept up to date. Each knows only those below it:

scanner          follows the tree: reads all of it once, then what an event names
reader           reads it level by level
device_reader    reads one device
known            what was read: entries, resources, and what changed
complaints       what is wrong with the tree, told as a difference
names            which names are nodes, classes and devices
descent          opens directories, never through a link
entries          one for each directory that is known
attributes       reads one file that anybody may have tampered with
mounts           notices what is mounted over the tree
"""
