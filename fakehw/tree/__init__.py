"""The tree on disk.

`snapshot` reads it, `plan` compares, `stage` makes and moves, `writer` is the door, `applied` remembers.
"""
