"""Checks of how a driver registers."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from fakekubelet.apiserver import slice_rules
from fakekubelet.conformance import verdict
from kubeletapi.dra import constants

if TYPE_CHECKING:
    from fakekubelet.conformance.dra.evidence import Evidence
    from fakekubelet.conformance.verdict import Result

NOT_REGISTERED = verdict.unjudged("no registration was accepted")


@verdict.check("DRA-1", "DRA-2", "DRA-8")
def registers(seen: Evidence) -> Result:
    """Registers in plugins_registry in time, and is connected"""
    accepted = [one for one in seen.registrations if one.error is None]
    if accepted:
        return verdict.kept(f"{accepted[0].resource_name} at {accepted[0].endpoint}")
    refused = [one.error for one in seen.registrations if one.error]
    if refused:
        return verdict.broken(verdict.start_of(refused[-1], 300))
    return verdict.broken(f"no registration; it printed: {verdict.end_of(seen.output, 200) or 'nothing'}")


@verdict.check("DRA-2")
def driver_info(seen: Evidence) -> Result:
    """Gives a valid driver name, and an absolute path of at most 107 bytes as its endpoint"""
    if seen.info is None:
        return NOT_REGISTERED
    faults = [error.body for error in slice_rules.driver_name(seen.info.name, "name")]
    endpoint = seen.info.endpoint
    if endpoint and not PurePosixPath(endpoint).is_absolute():
        faults.append(f"endpoint {endpoint!r} is no absolute path")
    if len(endpoint.encode()) > 107:
        faults.append(f"endpoint has {len(endpoint.encode())} bytes")
    return verdict.judged(faults, f"{seen.info.name}, {endpoint or 'the registration socket itself'}")


@verdict.check("DRA-4", "DRA-5")
def versions(seen: Evidence) -> Result:
    """Lists its services newest first, by the names that kubelets know"""
    if seen.info is None:
        return NOT_REGISTERED
    given = list(seen.info.supported_versions)
    own = [version for version in given if version in (constants.V1, constants.V1BETA1)]
    faults = []
    if own == [constants.V1BETA1, constants.V1]:
        faults.append("v1beta1.DRAPlugin before v1.DRAPlugin, and the kubelet takes the first that it knows")
    known = {constants.V1, constants.V1BETA1, constants.HEALTH_V1, constants.HEALTH_V1ALPHA1}
    odd = [version for version in given if version not in known and not version.startswith("v1alpha")]
    if odd:
        faults.append(f"{odd[0]!r} is no service that a kubelet knows")
    return verdict.judged(faults, ", ".join(given))


@verdict.check("DRA-1", "DRA-REG-5")
def serves_before_registering(seen: Evidence) -> Result:
    """Serves on its endpoint before the kubelet finds its registration socket"""
    if not seen.arrivals:
        return NOT_REGISTERED
    late = [one for one in seen.arrivals if not one.was_listening]
    return verdict.judged(
        [f"nobody listened at {late[0].endpoint} when it registered"] if late else [],
        f"{len(seen.arrivals)} registration(s)",
    )


@verdict.check("DRA-3")
def info_in_time(seen: Evidence) -> Result:
    """Answers GetInfo within 1 s"""
    if not seen.info_s:
        return verdict.unjudged("GetInfo was never answered")
    limit = seen.settings.limits.info_s
    slow = [took for took in seen.info_s if took > limit]
    return verdict.judged(
        [f"took {max(slow):.1f} s, over {limit:g} s"] if slow else [], f"at most {max(seen.info_s) * 1000:.0f} ms"
    )


@verdict.check("DRA-REG-6")
def answers_notify(seen: Evidence) -> Result:
    """Answers NotifyRegistrationStatus without an error"""
    if not seen.arrivals:
        return NOT_REGISTERED
    return verdict.judged(list(dict.fromkeys(seen.notify_errors)), f"{len(seen.arrivals)} time(s)")


@verdict.check("DRA-4", "DRA-16", "DRA-REG-2")
def serves_what_it_lists(seen: Evidence) -> Result:
    """Serves every service that it lists, and a call without claims"""
    if seen.info is None:
        return NOT_REGISTERED
    faults = [f"{service}: {error}" for service, error in seen.services.items() if error]
    return verdict.judged(faults, ", ".join(seen.services) or "nothing is listed that could be called")


CHECKS = (
    registers, driver_info, versions, serves_before_registering, info_in_time, answers_notify, serves_what_it_lists,
)  # fmt: skip  # in the order of the report
