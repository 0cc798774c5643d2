"""A Kubernetes device plugin for hardware that does not exist (see README.md). Importing the package loads nothing.

The rooms, from the door inwards; each knows only what stands below it:

cli, __main__     flags with twins in the environment
process           signals, and in which order what is needed is loaded
metrics           the numbers under their Prometheus names
daemon            the composition root: what is made of what
deviceplugin/     the rim towards the kubelet's device plugin API; only here gRPC is known
web, config       HTTP for metrics and probes; the settings as one value
devices/          inventories between tree and rims: what is there, what is retained, what is told of it
tree/             the tree of files as devices, kept up to date
device            a device as a value: what all the others talk about
inotify, logs, errors, slices, resource_name, socket_path
"""
