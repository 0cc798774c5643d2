"""The kubelet's own modules, mirrored; `kubelet` composes them."""
