"""As much of a Kubernetes API server as DRA drivers, kubelets and their tests need: real HTTP, no cluster.

    server.py         the life of one: a port, a kubeconfig, what was asked of it
    routes.py         paths to requests; discovery, /version
    registry.py       what happens to an object on its way in: names, defaults, gates, rules, conflicts, generations
    store.py          objects, resource versions, the recent past
    watching.py       lists and watches as client-go asks for them
    kinds.py gates.py schema.py conversion.py      which kinds, fields and versions a release of Kubernetes knows
    *_rules.py        what is refused, in the real server's words
    protobuf_body.py patches.py selectors.py field_errors.py api_error.py faults.py

docs/fake-kubelet.md says what is left out. Needs the extra `apiserver`.
"""
