"""`python -m tests.broken_drivers NAME STATE` runs one of them, in the places that the kit's environment names.

`--serve SOCKET` forks one for everybody who asks on that socket (`tests.broken_plugins.forks`).
"""

from __future__ import annotations

import os
import sys

from fakekubelet.conformance.dra import settings
from tests.broken_drivers import sound
from tests.broken_drivers.every import EVERY
from tests.broken_plugins import forks

name, state = sys.argv[1:]
if name == "--serve":
    name, root, state = forks.serve(state)
    os.environ |= {
        "KUBECONFIG": f"{root}/kubeconfig",
        "NODE_NAME": settings.NODE_NAME,
        "PLUGINS_DIR": f"{root}/plugins",
        "REGISTRY_DIR": f"{root}/plugins_registry",
        "CDI_DIR": f"{root}/cdi",
    }
sound.main(EVERY[name], state)
