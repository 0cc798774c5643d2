"""Names of extended resources, by the kubelet's own rule (contract REG-10).

Checked here, because the kubelet refuses a bad name only at Register, when nobody reads its answer (contract PIT-18).
"""

from __future__ import annotations

import re
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_MAX_DOMAIN: Final = 253 - len("requests.")


class ResourceName(str):
    """A valid extended resource name, `domain/name`. Make one with `parse`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> ResourceName:
        """Return `text` as a resource name; ValueError says which rule it breaks."""
        domain, slash, name = text.partition("/")
        if not slash:
            raise ValueError("must be of the form domain/name")
        if "kubernetes.io/" in text:
            raise ValueError("must not contain kubernetes.io/, which Kubernetes keeps for itself")
        if text.startswith("requests."):
            raise ValueError("must not start with requests.")
        check_domain(domain)
        if not _NAME.fullmatch(name):
            raise ValueError(
                "the part after the slash must be 1 to 63 letters, digits, '-', '_' or '.', "
                "with a letter or digit at both ends"
            )
        return cls(text)


def check_domain(domain: str) -> None:
    """Raise ValueError unless `domain` can stand before the slash of a resource name."""
    if len(domain) > _MAX_DOMAIN:
        raise ValueError(f"the domain must have at most {_MAX_DOMAIN} characters")
    if not _DOMAIN.fullmatch(domain):
        raise ValueError("the domain must be lower-case letters, digits and '-' in parts joined by '.'")
