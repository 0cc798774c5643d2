"""A fleet whose nodes join a real cluster.

objects       Node, Lease and pod status, as JSON has them: pure
pods          from the cluster's pods to what a fake kubelet takes: pure
work          what is to be done, each thing once and again until it is done
leases        the nodes' heartbeats, in a lane of their own
node          one node: its kubelet, what the cluster knows of it
sight         what the cluster has: a watch of Nodes and one of pods
foreign       nodes of the same names that others have made
kubelets      the kubelets, started with the pods that ran before
node_sync     a Node brought in line with its node
pod_sync      a pod brought in line with what its kubelet makes of it
events        events of pods that are refused
processes     pods as processes of this machine, if that is wanted
commands      what a container runs, as its pod says: pure
container_history  how containers fared before their fleet was killed: pure
looking       looks at kubelets in which something happened
fleet         all of them, put together
shards        the nodes dealt to several processes, and what is told of all of them
shard         one of these processes
part          which nodes such a process has: pure
report        how its nodes are, in numbers: pure
options       how a fleet behaves towards its cluster
tasks         tasks that end with a context
counted       the client, which counts what it asks for
recording     samples of a cluster on which failures are played, a table and a picture
control       the socket by which other commands reach a running fleet
leaving       what `down` takes away: what this fleet made, and nothing else
"""
