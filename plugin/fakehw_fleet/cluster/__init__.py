"""A fleet whose nodes join a real cluster.

objects       Node, Lease and pod status, as JSON has them: pure
pods          from the cluster's pods to what a fake kubelet takes: pure
work          what is to be done, each thing once and again until it is done
leases        the nodes' heartbeats, in a lane of their own
node          one node: its kubelet, what the cluster knows of it
fleet         all of them, and the two watches that feed them
counted       the client, which counts what it asks for
recording     samples of a cluster on which failures are played, a table and a picture
control       the socket by which other commands reach a running fleet
leaving       what `down` takes away: what this fleet made, and nothing else
"""
