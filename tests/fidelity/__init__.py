"""One set of claims about kubelets, tried on the fake one (`make test`) and on a real one (`make fidelity`).

A claim that holds on one and not on the other is a mistake in the fake, or in docs/kubelet-contract.md. Both nodes are
spoken to through `node.Node`; the plugins are stubs that the test itself serves, in the kubelet's own directory.
"""
