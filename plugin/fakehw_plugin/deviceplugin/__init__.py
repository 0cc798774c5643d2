"""The rim towards the kubelet: the device plugin API, one `session` for each resource."""
