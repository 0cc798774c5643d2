"""The health of DRA devices, as a driver streams it to the kubelet."""
