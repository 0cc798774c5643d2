"""The tree on disk.

`writer` is the door, `roots` opens the root, `places` finds what paths stand for in it. `snapshot` reads, `plan`
compares, `plugging` says what is to come, `stage` makes and moves, under a `lock`; `applied` remembers the specs that
were built, `unplugged` keeps what was pulled out, `likeness` tells a fake tree from any other directory, `directory`
follows no link.
"""
