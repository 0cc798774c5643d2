"""The configuration as one frozen value, checked completely before anything starts.

Every flag has a twin in the environment; a flag wins. What is wrong is named with its value, its rule and its flag.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from fakehw_plugin import errors, resource_name, socket_path
from fakehw_plugin.offer import Api
from kubeletapi.dra import constants as dra

if TYPE_CHECKING:
    from collections.abc import Callable

SOCKET_NAME_BYTES: Final = len("fakehw-01234567.sock")
"""The shortest name of a socket that is made in the plugin directory."""

_NODE_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""As the API server has it (apimachinery validation, NameIsDNSSubdomain)."""


MAX_DURATION_S: Final = 86_400.0
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ms|us|µs|ns|s|m|h|d)")
_DURATION: Final = re.compile(rf"(?:{_PART.pattern})+")
_SECONDS: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?|\.[0-9]+")
_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Config(NamedTuple):
    """What the plugin was told. Durations are in seconds."""

    root: Path
    host_root: Path
    """The same tree as the container runtime sees it: the host side of the mounts."""
    host: str
    """The Kubernetes node whose devices are served; empty: all of the tree."""
    plugin_dir: Path
    pod_resources: Path | None
    domain: str
    http: tuple[str, int] | None
    """Address and port; an empty address means all, port 0 any free one."""
    reconcile_s: float
    """Between two readings of the whole tree; 0 = never."""
    quiet_s: float
    """Shortest time between two lists in a storm of changes."""
    vanished_grace_s: float
    """How long a device that left the tree is listed as Unhealthy if nobody can say who holds it."""
    pre_start_check: bool
    rpc_faults: bool = False
    """Play the faults that stand in the tree's rpc directories."""
    api: Api = Api.DEVICE_PLUGIN
    """What serves the classes that do not say."""
    kubeconfig: str = ""
    """For DRA: how the API server is reached; empty: as kubectl would, or by the pod's service account."""
    registry_dir: Path = Path(dra.PLUGINS_REGISTRY)
    state_dir: Path = Path(dra.PLUGINS) / "fakehw"
    """For DRA: where prepared claims are remembered."""
    cdi_dir: Path = Path(dra.CDI_DIR)
    device_metrics: bool = False
    """Give each device series of its own."""


def absolute_path(text: str, *, flag: str) -> Path:
    """Return `text` as an absolute path."""
    if not text or "\0" in text or "\n" in text:
        raise errors.ConfigError(text, "must be a path", flag)
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise errors.ConfigError(text, "must be UTF-8: the kubelet takes paths as text", flag)
    return Path(text).absolute()


def directory_for_sockets(text: str, *, flag: str) -> Path:
    """Return `text` as an absolute path that leaves room for the name of a Unix socket."""
    path = absolute_path(text, flag=flag)
    if socket_path.room(path) < SOCKET_NAME_BYTES:
        rule = f"too long: the path of a Unix socket has at most {socket_path.MAX_BYTES} bytes"
        raise errors.ConfigError(text, rule, flag)
    if path.exists() and not path.is_dir():
        raise errors.ConfigError(text, "must be a directory", flag)
    return path


def node_name(text: str, *, flag: str) -> str:
    """Return `text` if a Kubernetes node can be called so, or if it is empty."""
    if text and not (len(text) <= 253 and _NODE_NAME.fullmatch(text)):
        rule = "must be the name of a node: lower-case letters, digits and '-' in parts joined by '.', at most 253"
        raise errors.ConfigError(text, rule, flag)
    return text


def domain(text: str, *, flag: str) -> str:
    """Return `text` if it can stand before the slash of a resource name (contract REG-10)."""
    try:
        resource_name.ResourceName.parse(f"{text}/mydevice-1")
    except ValueError as error:
        raise errors.ConfigError(text, str(error), flag) from None
    return text


def duration(text: str, *, flag: str) -> float:
    """Return `text`, a duration as Go writes it (`5ms`, `1m30s`) or a number of seconds, in seconds; at most a day."""
    seconds = math.nan
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    elif _DURATION.fullmatch(text):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if not 0 <= seconds <= MAX_DURATION_S:
        rule = "must be a duration such as 500ms, 3s or 1m30s, or a number of seconds, at most 24h"
        raise errors.ConfigError(text, rule, flag)
    return seconds


def address(text: str, *, flag: str) -> tuple[str, int] | None:
    """Return `text`, of the form IP:PORT, [IPv6]:PORT or :PORT, as a pair; None for the empty text."""
    import ipaddress

    if not text:
        return None
    rule = "must be IP:PORT, [IPv6]:PORT or :PORT, or empty for none"
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        if host:
            ipaddress.ip_address(host)
        number = int(port) if port.isascii() and port.isdigit() else -1
    except ValueError:
        raise errors.ConfigError(text, rule, flag) from None
    if not colon or not 0 <= number <= 65_535:
        raise errors.ConfigError(text, rule, flag)
    return host, number


def boolean(text: str, *, flag: str) -> bool:
    """Return the truth of an environment variable."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("", "0", "false", "no", "off"):
        return False
    raise errors.ConfigError(text, "must be true or false", flag)


def api(text: str, *, flag: str) -> Api:
    """Return `text` as an API by which devices can be served."""
    try:
        return Api(text)
    except ValueError:
        raise errors.ConfigError(text, f"must be {' or '.join(Api)}", flag) from None


def text_of(text: str, *, flag: str) -> str:
    """Return `text`."""
    return text


def one_of(choices: tuple[str, ...]) -> Callable[..., str]:
    """Return a parser that takes one of `choices`."""

    def parse(text: str, *, flag: str) -> str:
        if text not in choices:
            raise errors.ConfigError(text, f"must be one of {', '.join(choices)}", flag)
        return text

    return parse
