"""The DRA half of a fake kubelet: drivers, claims, health, and what CDI puts into a container.

    dynamic_resources.py    the half as a whole: what a kubelet starts, stops and asks
    drivers.py              who is registered and connected, and the wiping of slices
    driver_client.py        one connection: prepare, unprepare, the health stream
    view.py                 what is asked of an API server
    preparation.py          what is done for a pod, in the kubelet's order
    claim_cache.py          what is known of claims, and the file that outlives the kubelet
    health_cache.py         what drivers said of their devices, and until when it is believed
    cdi.py                  the runtime's side: ids to environment, mounts and device nodes

Mirrors `pkg/kubelet/cm/dra` of 1.36 (contract section 13).
"""
