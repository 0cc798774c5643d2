"""The wire APIs between kubelet and plugin, generated from proto/ (see proto/README.md). Importing it loads nothing."""
