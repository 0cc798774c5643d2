"""The rim towards the tree.

`attributes` reads one file, `reader` the tree, `scanner` follows it. Nothing here knows gRPC.
"""
