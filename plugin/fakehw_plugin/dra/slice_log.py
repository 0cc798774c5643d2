"""What the log says of the slices of one driver, and of the API server that has them: each thing once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fakehw_plugin.dra import entry, plan

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from fakehw_plugin.devices.telemetry import Telemetry
    from fakehw_plugin.dra.plan import Object
    from fakehw_plugin.logs import Logger
    from kubeapi import errors

GATES: Final = {"taints": "DRADeviceTaints"}
"""The feature gate of a field that a server drops."""


class SliceLog:
    """Remembers what was said last."""

    def __init__(self, log: Logger, telemetry: Telemetry) -> None:
        self._log = log
        self._telemetry = telemetry
        self._failure = ""
        self._dropped: set[str] = set()
        self._rivals: AbstractSet[str] = frozenset()

    def failed(self, error: errors.ApiError, pause: float | None) -> None:
        """Count what the API server answered, and say so if it is another thing than the last time."""
        self._telemetry.api_errors[_word(error)] += 1
        if str(error) != self._failure:
            self._failure = str(error)
            self._log.warning(
                "api_server_failed", error=str(error), retry_in_s=None if pause is None else round(pause, 2)
            )

    def succeeded(self) -> None:
        """Say that all could be written, if it could not before."""
        if self._failure:
            self._log.info("slices_written_again")
        self._failure = ""

    def written(self, name: str, before: Object | None, written: Object) -> None:
        """Say which devices are told otherwise since this write: what is said here a scheduler can see."""
        changed = plan.difference((before or {}).get("spec", {}).get("devices") or [], written["spec"]["devices"])
        words: dict[str, list[str]] = {"healthy": [], "unhealthy": [], "removed": []}
        for device, now in changed.items():
            words["removed" if now is None else "unhealthy" if entry.is_unhealthy(now) else "healthy"].append(device)
        told = {word: ", ".join(devices) for word, devices in words.items() if devices}
        self._log.info("slice_written", slice=name, generation=written["spec"]["pool"]["generation"], **told)

    def dropped(self, fields: set[str]) -> None:
        """Say which fields the server did not keep."""
        for name in sorted(fields - self._dropped):
            gate = GATES.get(name)
            remark = f"feature gate {gate} is off" if gate else "the API server does not know it"
            self._log.warning("slice_field_dropped", field=name, reason=remark)
        self._dropped |= fields

    def lost(self, name: str) -> None:
        """Say that somebody deleted a slice."""
        self._log.info("slice_deleted_by_others", slice=name)

    def rivals(self, names: AbstractSet[str]) -> None:
        """Say which slices somebody else has under the driver's name, or had."""
        if names and names != self._rivals:
            remark = "another driver has this name, or had: give the class a file `driver` of its own, or delete them"
            self._log.error("driver_name_taken", slices=", ".join(sorted(names)[:4]), remark=remark)
        self._rivals = names


def _word(error: errors.ApiError) -> str:
    code = getattr(error, "code", None)
    return str(code) if code else type(error).__name__.removesuffix("Error").lower()
