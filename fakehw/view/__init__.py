"""For whoever looks on.

`follower` follows a tree, `listing`, `events` and `top` show it, `pod_resources` asks who holds what, `holding`
over and over.
"""
