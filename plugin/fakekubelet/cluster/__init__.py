"""Nodes, a scheduler and pods that run as processes: a small cluster on fake kubelets."""
