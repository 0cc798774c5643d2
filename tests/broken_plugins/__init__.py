"""Device plugins with one fault each, for the conformance kit to find.

`sound.py` is the plugin without a fault; the others are it with something overridden. `breaks` names the checks that
must fail, and no other may. Run one as `python -m tests.broken_plugins NAME STATE`, where STATE is a file that makes a
device unhealthy while it exists.
"""
