"""Which resource names a kubelet accepts (contract REG-10)."""

from __future__ import annotations

import re

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_QUOTA_PREFIX = "requests."
_MAX_SUBDOMAIN = 253
_MAX_NAME = 63


def is_extended(name: str) -> bool:
    """Tell whether *name* may be registered: `domain/name`, native to nobody, and usable in a resource quota.

    The quota spelling is why the domain has 9 characters less than a DNS name, and why `my-kubernetes.io/x` is refused
    with all else that has `kubernetes.io/` somewhere in it.
    """
    if "/" not in name or "kubernetes.io/" in name or name.startswith(_QUOTA_PREFIX):
        return False
    prefix, _, base = (_QUOTA_PREFIX + name).partition("/")
    return (
        len(prefix) <= _MAX_SUBDOMAIN
        and _SUBDOMAIN.fullmatch(prefix) is not None
        and 0 < len(base) <= _MAX_NAME
        and _NAME.fullmatch(base) is not None
    )
