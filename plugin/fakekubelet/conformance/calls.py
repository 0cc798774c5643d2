"""The plugin is asked everything there is to ask, and its devices are broken and mended, with a second stream open."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from fakekubelet.conformance import direct_client, evidence, subject
from fakekubelet.kubelet import plugin_client
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakekubelet.conformance.observed import Sight
    from fakekubelet.kubelet import kubelet


async def ask_and_change(
    seen: evidence.Evidence, sight: Sight, running: kubelet.FakeKubelet, plugin: subject.Subject
) -> None:
    """Write into *seen* what the plugin answers and which lists it sends."""
    limits = seen.settings.limits
    seen.options.update(sight.options())
    async with contextlib.AsyncExitStack() as stack:
        watchers = []
        for resource in sight.resources:
            path, options = sight.socket_path(resource), seen.options.get(resource)
            if path is None or options is None or not running.history(resource):
                continue
            with contextlib.suppress(plugin_client.DialError):
                async with direct_client.connected(resource, path) as client:
                    seen.exchanges += await direct_client.ask_all(client, sight.healthy(resource), options, limits)

            def is_gone(resource: str = resource) -> bool:
                return not plugin.is_running or not running.live_streams(resource)

            if any(one.resource == resource and one.lost_connection for one in seen.exchanges):
                await sight.until(is_gone, limits.reply_s)  # the call that it dies of tells first
            if is_gone():
                seen.survived_unknown = False
                continue
            watcher = direct_client.Watcher(resource, path, running.changes.ring)
            watchers.append(await stack.enter_async_context(watcher))
        firsts = {one.resource: await one.first_ids(limits.list_s) for one in watchers}
        watchers = [one for one in watchers if firsts[one.resource] is not None]
        await _break_and_mend(seen, sight, running, watchers)
        change = seen.change
        for one in watchers:
            is_changed = change is not None and change.resource == one.resource
            saw_break = len(change.streams) == 2 if change is not None and is_changed else None
            seen.second_streams[one.resource] = evidence.SecondStream(firsts[one.resource], one.error, saw_break)
        for resource, first in firsts.items():
            seen.second_streams.setdefault(resource, evidence.SecondStream(first))


async def _break_and_mend(
    seen: evidence.Evidence, sight: Sight, running: kubelet.FakeKubelet, watchers: Sequence[direct_client.Watcher]
) -> None:
    settings, limit = seen.settings, seen.settings.limits.list_s
    before = {one: set(sight.healthy(one)) for one in sight.resources}
    if settings.break_command is None or not any(before.values()) or not seen.survived_unknown:
        return
    began = time.monotonic()
    await subject.run_hook(settings.break_command, settings)

    def streams(resource: str) -> set[str]:
        """Return the streams of *resource* on which a list with fewer healthy devices came."""
        healthy = len(before[resource])
        first = any(one.healthy < healthy for one in sight.lists(resource, began))
        second = any(one.resource == resource and one.fewest_healthy < healthy for one in watchers)
        return {*(["kubelet"] if first else []), *(["second"] if second else [])}

    def newest(resource: str) -> dict[str, str]:
        """Return the last list on either stream: which one it comes on is another question."""
        lists = [
            (one.at, {key: health for key, (health, _) in one.devices.items()})
            for one in running.history(resource)[-1:]
        ]
        lists += [(one.at, one.health) for one in watchers if one.resource == resource]
        return max(lists, key=lambda one: one[0])[1]

    def loser() -> str | None:
        return next((one for one in before if streams(one)), None)

    await sight.until(lambda: loser() is not None, limit)
    lost, broken_s = loser(), time.monotonic() - began
    if lost is None:
        seen.change = evidence.Change()
        return
    said = newest(lost)
    ids = {one for one in before[lost] if said.get(one, constants.HEALTHY) != constants.HEALTHY}
    ids = ids or before[lost] - said.keys()
    open_streams = 1 + sum(one.resource == lost for one in watchers)
    await sight.until(lambda: len(streams(lost)) == open_streams, limit)
    mended_s = None
    if settings.mend_command is not None:
        began_again = time.monotonic()
        await subject.run_hook(settings.mend_command, settings)
        if await sight.until(lambda: all(newest(lost).get(one) == constants.HEALTHY for one in ids), limit):
            mended_s = time.monotonic() - began_again
    seen.change = evidence.Change(lost, broken_s, mended_s, frozenset(ids), frozenset(streams(lost)))
