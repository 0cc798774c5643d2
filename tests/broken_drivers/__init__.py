"""DRA drivers with one fault each, for the conformance kit to find.

`sound.py` is the driver without a fault; the others are it with something overridden. `breaks` names the checks that must
fail, and no other may. Run one as `python -m tests.broken_drivers NAME STATE`, where STATE is a directory: a device is
unhealthy while the file `broken` is in it.
"""
