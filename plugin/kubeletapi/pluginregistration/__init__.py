"""The plugin watcher API: registration by a socket that the kubelet finds."""
