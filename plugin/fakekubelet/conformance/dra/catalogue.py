"""All checks of DRA drivers, in the order of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fakekubelet.conformance.dra import (
    cdi_checks,
    claim_checks,
    health_checks,
    recovery_checks,
    registration_checks,
    slice_checks,
)

if TYPE_CHECKING:
    from fakekubelet.conformance.verdict import Check

GROUPS: Final[dict[str, tuple[Check, ...]]] = {
    "registration": registration_checks.CHECKS,
    "slices": slice_checks.CHECKS,
    "claims": claim_checks.CHECKS,
    "CDI": cdi_checks.CHECKS,
    "health and changes": health_checks.CHECKS,
    "coming back and going": recovery_checks.CHECKS,
}
