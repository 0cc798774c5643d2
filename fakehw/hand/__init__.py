"""A hand on one tree for somebody far away: requests and answers as lines of JSON, over any pair of pipes.

`kubectl fakehw` starts `fakehw hand` beside each tree of a cluster and talks to it; so one connection a node serves any
number of changes, and what it plays ends with it.
"""
