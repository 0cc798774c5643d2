"""The PodResources API: which container holds which device."""
