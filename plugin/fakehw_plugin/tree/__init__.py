"""The tree of files as devices, kept up to date.

scanner        follows the tree: reads all of it once, then what an event names
reader         reads it level by level
entries        what is remembered of each directory
attributes     reads one file that anybody may have tampered with
mounts         notices what is mounted over the tree
"""
