"""Names of extended resources, by the kubelet's own rule (contract REG-10).

Checked when a spec is read, because the kubelet refuses a bad name only at Register, when nobody reads its answer
(contract PIT-18).
"""

from __future__ import annotations

import re
from typing import Final

_RESERVED: Final = "kubernetes.io/"
_QUOTA_PREFIX: Final = "requests."
_MAX_DOMAIN: Final = 253 - len(_QUOTA_PREFIX)
_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def check(text: str) -> None:
    """Raise ValueError, with the rule, unless `text` is an extended resource name such as `nvidia.com/gpu`."""
    domain, slash, name = text.partition("/")
    if not slash:
        raise ValueError("must be DOMAIN/NAME, such as myplugin.io/mydevice-3")
    check_domain(domain)
    if not _NAME.fullmatch(name):
        raise ValueError(
            "the part after the slash must be 1 to 63 letters, digits, '-', '_' or '.', "
            "with a letter or digit at both ends"
        )


def check_domain(text: str) -> None:
    """Raise ValueError, with the rule, unless `text` may stand before the slash of a resource name."""
    if not _DOMAIN.fullmatch(text):
        raise ValueError("the domain must be lower-case letters, digits and '-' in parts joined by '.'")
    if len(text) > _MAX_DOMAIN:
        raise ValueError(f"the domain must have at most {_MAX_DOMAIN} characters")
    if text.startswith(_QUOTA_PREFIX):
        raise ValueError(f"must not start with {_QUOTA_PREFIX} (resource quotas use it)")
    if _RESERVED in text + "/":
        raise ValueError(f"must not contain {_RESERVED}, which Kubernetes keeps for itself")


def check_host(text: str) -> None:
    """Raise ValueError, with the rule, unless `text` can be the name of a Kubernetes node."""
    if len(text) > 253 or not _DOMAIN.fullmatch(text):
        raise ValueError(
            "must be the name of a Kubernetes node: lower-case letters, digits and '-', in parts joined by '.'"
        )
