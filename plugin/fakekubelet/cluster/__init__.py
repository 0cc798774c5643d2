"""Nodes, a scheduler and pods that run as processes: small clusters on fake kubelets.

cluster.py                           LocalCluster: devices come by device plugins
scheduler.py pod_run.py              where a pod goes; its life there
dra_cluster.py                       DraCluster: devices come by DRA, objects are at an API server
dra_scheduler.py taint_eviction.py   what is done to a pod there: claims and a node, eviction
claim_allocation.py selector.py extended_claims.py   which devices a claim gets; pure but for the selectors
dra_pod_run.py                       a pod's life there
pod_objects.py                       pods and claims, read and written
life.py                              how both begin and end
process.py                           a container as a process
"""
