"""A /var/lib/kubelet/device-plugins of one's own, for plugins that know no other.

The command is run again in a new mount namespace, with an empty file system mounted there. Where it is not root it
becomes root of a new user namespace first, which many systems allow. Nothing outside sees any of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from fakekubelet.conformance import endings
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import Sequence

_MARK = "FAKEHW_CONFORMANCE_INSIDE"
_ROOT = "/var/lib/kubelet"

_SCRIPT = f"""
set -e
if [ ! -d {_ROOT} ]; then
    mount -t tmpfs tmpfs /var/lib       # nothing may be made there outside, so it is covered whole
    mkdir {_ROOT}
else
    mount -t tmpfs tmpfs {_ROOT}
fi
mkdir -m 750 {constants.DEVICE_PLUGIN_PATH}
exec "$@"
"""


class MountError(Exception):
    """There is no private mount to be had here."""


def covered() -> str:
    """Return the directory below which all that is written goes with the kit (see the script)."""
    return _ROOT if os.path.isdir(_ROOT) else os.path.dirname(_ROOT)  # noqa: PTH112,PTH120 - a constant


def is_inside() -> bool:
    """Tell whether this process is the one that was run again."""
    return os.environ.get(_MARK) == "1"


def run_inside(words: Sequence[str]) -> int:
    """Run the kit again with these arguments in a namespace of its own; return its exit code."""
    unshare = shutil.which("unshare")
    if unshare is None:
        raise MountError("--private-mount needs the command unshare (util-linux)")
    namespaces = ["--mount", "--propagation", "private"]
    if os.geteuid() != 0:
        namespaces += ["--user", "--map-root-user"]
    inner = [sys.executable, "-m", "fakekubelet.conformance", *words]
    command = [unshare, *namespaces, "/bin/sh", "-c", _SCRIPT, "sh", *inner]
    with subprocess.Popen(command, env={**os.environ, _MARK: "1"}) as kit:
        while True:
            try:
                code = kit.wait()
            except endings.EndedError as ending:
                kit.send_signal(ending.number)  # it ends what it has started, and says so
            else:
                return code if code >= 0 else 128 - code
