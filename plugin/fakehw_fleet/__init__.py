"""A fleet of fake nodes: the tree, a fake kubelet and the plugin for every node, in one process or several.

The composition of the other packages, which do not know each other; nobody imports this one.

members      which nodes there are                     plugins      the plugins of all nodes on one tree
directories  all kubelet directories, one watch        local        nodes on a scheduler of our own, no cluster
cluster/     nodes of a real cluster                   state        where those have their sockets and checkpoints
plugin_log   what all plugins log, in one file
table        what people see of it                     metrics      what Prometheus sees
summary      a fleet in numbers                        resized      a topology with another number of nodes
kwok         the same nodes for KWOK                   commands/    one module a command
demo         the story of the tutorial, by demo_*      cli          the command `fakehw-fleet`, from commands/
"""
