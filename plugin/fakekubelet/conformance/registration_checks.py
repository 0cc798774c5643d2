"""Checks of how a plugin registers."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from fakekubelet.conformance import evidence, verdict
from fakekubelet.kubelet import resource_name as resource_names
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fakekubelet.conformance.evidence import Evidence
    from fakekubelet.conformance.verdict import Result
    from fakekubelet.kubelet.registration import Registration

_MAX_SOCKET_PATH = 107
_DIAL_S = 10.0
_TOLD = 300
_SILENT = verdict.unjudged("the plugin never called Register")
_WATCHED = verdict.unjudged("it registers through plugins_registry, without a call of its own")


def _calls(seen: Evidence) -> list[Registration]:
    """Return what came by Register, not by plugins_registry (contract PW-1)."""
    return [attempt for attempt in seen.registrations if attempt.route == "Register"]


def _is_of_other_versions(attempt: Registration) -> bool:
    """Tell whether a plugin was refused for the versions that it listed in plugins_registry (contract PW-4)."""
    return "manager version" in (attempt.error or "")


def _each(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names)))


@verdict.check("REG-5")
def registers(seen: Evidence) -> Result:
    """Registers every resource in time."""
    if any(
        attempt.version != constants.VERSION or _bad_name(attempt.resource_name) or _is_of_other_versions(attempt)
        for attempt in seen.registrations
    ):
        return verdict.unjudged("the kubelet refuses version or name, which other checks tell")
    accepted = {attempt.resource_name for attempt in seen.accepted}
    missing = [resource for resource in seen.resources if resource not in accepted]
    if accepted and not missing:
        return verdict.kept(f"{len(accepted)} resource(s): {_each(accepted)}")
    errors = [
        f"{attempt.resource_name}: {attempt.error}" for attempt in seen.registrations if attempt.error is not None
    ]
    said = f"; refused: {_each(errors)}" if errors else ""
    printed = f"; it printed: {verdict.end_of(seen.output, _TOLD)}" if seen.output and not seen.registrations else ""
    return verdict.broken(
        f"within {seen.settings.limits.start_s:g} s no registration of {_each(missing) or 'anything'}{said}{printed}"
    )


@verdict.check("REG-4")
def version(seen: Evidence) -> Result:
    """Registers with version v1beta1, the only one there is."""
    if not seen.registrations:
        return _SILENT
    refused = [attempt.error for attempt in seen.registrations if _is_of_other_versions(attempt)]
    if refused:
        return verdict.broken(_each(error for error in refused if error))
    wrong = [repr(attempt.version) for attempt in seen.registrations if attempt.version != constants.VERSION]
    return verdict.judged([f"sent {_each(wrong)}"] if wrong else [], constants.VERSION)


@verdict.check("REG-4", "REG-10")
def resource_name(seen: Evidence) -> Result:
    """Registers under a valid extended resource name."""
    if not seen.registrations:
        return _SILENT
    names = {attempt.resource_name for attempt in seen.registrations}
    return verdict.judged([f"{name!r} is refused" for name in sorted(names) if _bad_name(name)], _each(names))


def _bad_name(name: str) -> bool:
    return not resource_names.is_extended(name)


@verdict.check("REG-9", "PATH-4")
def endpoint_name(seen: Evidence) -> Result:
    """Gives a bare file name as its endpoint, on a path of at most 107 bytes."""
    if not seen.registrations:
        return _SILENT
    directory, faults = seen.settings.plugin_dir, []
    names = sorted({attempt.endpoint for attempt in seen.registrations})
    watched = {attempt.endpoint for attempt in seen.registrations if attempt.route != "Register"}
    for name in names:
        if name in watched:  # a path, which may lie elsewhere
            if len(name.encode()) > _MAX_SOCKET_PATH or not name.startswith("/"):
                faults.append(f"{name!r} is no absolute path of at most {_MAX_SOCKET_PATH} bytes")
        elif not evidence.is_inside(directory, name) or name == constants.KUBELET_SOCKET:
            faults.append(f"{name!r} is not a bare file name of its own")
        elif len(bytes(directory / name)) > _MAX_SOCKET_PATH:
            faults.append(f"{name!r} makes a path of {len(bytes(directory / name))} bytes")
    return verdict.judged(faults, f"such as {names[0]}")


@verdict.check("REG-15", "PIT-5")
def endpoint_unique(seen: Evidence) -> Result:
    """Uses a socket name that no other process of it has used."""
    used = [
        {attempt.endpoint for attempt in life.registrations if attempt.error is None and attempt.route == "Register"}
        for life in seen.instances
    ]
    if seen.registrations and not _calls(seen):
        return _WATCHED
    used = [names for names in used if names]
    if len(used) < 2:
        return verdict.unjudged("only one process was seen to register")
    again = set().union(*(some & other for some, other in itertools.combinations(used, 2)))
    return verdict.judged(
        [f"{_each(again)} is used by one process after the other"] if again else [], f"{len(used)} processes compared"
    )


@verdict.check("PIT-1", "REG-6")
def serves_before_registering(seen: Evidence) -> Result:
    """Listens on its socket before it calls Register."""
    if not _calls(seen):
        return _WATCHED if seen.registrations else _SILENT
    judged, used = [], set()
    for attempt in _calls(seen):
        # A kubelet deletes sockets when it starts (contract REG-2): to insist on one is another fault, told elsewhere.
        is_new, waited = attempt.endpoint not in used, attempt.time > seen.waited_until or attempt.error is None
        if is_new and waited and evidence.is_inside(seen.settings.plugin_dir, attempt.endpoint):
            judged.append(attempt)
        used.add(attempt.endpoint)
    if not judged:
        return verdict.unjudged("no socket of a sane name that the kubelet had not deleted")
    early = [attempt.endpoint for attempt in judged if not attempt.was_listening]
    return verdict.judged(
        [f"nobody listened on {_each(early)} when Register was called"] if early else [], f"{len(judged)} socket(s)"
    )


@verdict.check("REG-7")
def register_deadline(seen: Evidence) -> Result:
    """Waits for Register longer than the 10 s that the kubelet may take to dial back."""
    if not _calls(seen):
        return _WATCHED if seen.registrations else _SILENT
    waits = [attempt.deadline_s for attempt in _calls(seen) if attempt.deadline_s is not None]
    short = [f"{wait_s:.1f} s" for wait_s in waits if wait_s < _DIAL_S - 0.5]
    return verdict.judged(
        [f"gives up after {_each(short)}"] if short else [], f"at least {min(waits):.0f} s" if waits else "no deadline"
    )


@verdict.check("REG-8")
def options_agree(seen: Evidence) -> Result:
    """Answers GetDevicePluginOptions with the options it registered with."""
    if not seen.options:
        return verdict.unjudged("no options were received")
    if not _calls(seen):
        return _WATCHED
    faults = []
    for resource, options in sorted(seen.options.items()):
        answered = options.pre_start_required, options.preferred_allocation
        sent = {attempt.request_options for attempt in seen.accepted if attempt.resource_name == resource}
        if sent - {answered}:
            faults.append(
                f"{resource} registered with {_words(next(iter(sent - {answered})))}, says {_words(answered)}"
            )
    options = next(iter(seen.options.values()))
    return verdict.judged(faults, _words((options.pre_start_required, options.preferred_allocation)))


def _words(options: tuple[bool, bool] | None) -> str:
    names = ("pre_start_required", "get_preferred_allocation_available")
    return " and ".join(name for name, on in zip(names, options or (), strict=False) if on) or "no options"


@verdict.check("REG-7", "REG-8")
def options_in_time(seen: Evidence) -> Result:
    """Answers GetDevicePluginOptions in time."""
    failed = [
        attempt.error for attempt in seen.registrations if attempt.error and "device plugin options" in attempt.error
    ]
    if failed:
        return verdict.broken(_each(failed))
    if not seen.options:
        return verdict.unjudged("no options were received")
    slow = {resource: options.duration_s for resource, options in seen.options.items()}
    limit = seen.settings.limits.options_s
    faults = [
        f"{resource} took {took:.1f} s, over {limit:g} s" for resource, took in sorted(slow.items()) if took > limit
    ]
    return verdict.judged(faults, f"at most {max(slow.values()) * 1000:.0f} ms")


@verdict.check("REG-12", "REG-13", "PIT-4")
def registers_once(seen: Evidence) -> Result:
    """Never registers while the kubelet already listens to it."""
    if not seen.accepted:
        return verdict.unjudged("no registration was accepted")
    doubles = [attempt.resource_name for attempt in seen.registrations if attempt.streams_before]
    faults = [
        f"{doubles.count(resource)} time(s) for {resource} with a stream open" for resource in sorted(set(doubles))
    ]
    return verdict.judged(faults, f"{len(seen.registrations)} registration(s) seen")


CHECKS = (
    registers, version, resource_name, endpoint_name, endpoint_unique, serves_before_registering, register_deadline,
    options_agree, options_in_time, registers_once,
)  # fmt: skip  # in the order of the report
