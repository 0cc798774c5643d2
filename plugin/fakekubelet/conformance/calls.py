"""The plugin is asked everything there is to ask, and its devices are broken and mended, with a second stream open."""

from __future__ import annotations

import contextlib
import operator
import time
from typing import TYPE_CHECKING

from fakekubelet.conformance import direct_client, evidence, subject
from fakekubelet.kubelet import plugin_client
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakekubelet.conformance.observed import Observed
    from fakekubelet.kubelet import kubelet


async def ask_and_change(
    seen: evidence.Evidence, observed: Observed, running: kubelet.FakeKubelet, plugin: subject.Subject
) -> None:
    """Write into *seen* what the plugin answers and which lists it sends."""
    limits = seen.settings.limits
    seen.options.update(observed.options())
    async with contextlib.AsyncExitStack() as stack:
        watchers = []
        for resource in observed.resources:
            path, options = observed.socket_path(resource), seen.options.get(resource)
            if path is None or options is None or not running.history(resource):
                continue
            with contextlib.suppress(plugin_client.DialError):
                async with direct_client.connected(resource, path) as client:
                    seen.exchanges += await direct_client.ask_all(client, observed.healthy(resource), options, limits)

            def is_gone(resource: str = resource) -> bool:
                return not plugin.is_running or not running.live_streams(resource)

            if any(exchange.resource == resource and exchange.lost_connection for exchange in seen.exchanges):
                await observed.until(is_gone, limits.reply_s)  # the call that it dies of tells first
            if is_gone():
                seen.survived_unknown = False
                continue
            watcher = direct_client.Watcher(resource, path, running.changes.ring)
            watchers.append(await stack.enter_async_context(watcher))
        firsts = {watcher.resource: await watcher.first_ids(limits.list_s) for watcher in watchers}
        listening = [watcher for watcher in watchers if firsts[watcher.resource] is not None]
        await _break_and_mend(seen, observed, running, listening)
        change = seen.change
        for stream in watchers:
            is_changed = change is not None and change.resource == stream.resource and stream in listening
            saw_break = len(change.streams) == 2 if change is not None and is_changed else None
            first = firsts[stream.resource]
            seen.second_streams[stream.resource] = evidence.SecondStream(first, stream.error, saw_break)


async def _break_and_mend(
    seen: evidence.Evidence, observed: Observed, running: kubelet.FakeKubelet, watchers: Sequence[direct_client.Watcher]
) -> None:
    settings, limit = seen.settings, seen.settings.limits.list_s
    before = {resource: set(observed.healthy(resource)) for resource in observed.resources}
    if settings.break_command is None or not any(before.values()) or not seen.survived_unknown:
        return
    began = time.monotonic()
    await subject.run_hook(settings.break_command, settings)

    def streams(resource: str) -> set[str]:
        """Return the streams of *resource* on which a list with fewer healthy devices came."""
        healthy = len(before[resource])
        first = any(received.healthy < healthy for received in observed.lists(resource, began))
        second = any(watcher.resource == resource and watcher.fewest_healthy < healthy for watcher in watchers)
        return {*(["kubelet"] if first else []), *(["second"] if second else [])}

    def newest(resource: str) -> dict[str, str]:
        """Return the last list on either stream: which one it comes on is another question."""
        lists = [
            (received.at, {key: health for key, (health, _) in received.devices.items()})
            for received in running.history(resource)[-1:]
        ]
        lists += [(watcher.at, watcher.health) for watcher in watchers if watcher.resource == resource]
        return max(lists, key=operator.itemgetter(0))[1]

    def loser() -> str | None:
        return next((resource for resource in before if streams(resource)), None)

    await observed.until(lambda: loser() is not None, limit)
    lost, broken_s = loser(), time.monotonic() - began
    if lost is None:
        seen.change = evidence.Change()
        return
    said = newest(lost)
    ids = {device_id for device_id in before[lost] if said.get(device_id, constants.HEALTHY) != constants.HEALTHY}
    ids = ids or before[lost] - said.keys()
    open_streams = 1 + sum(watcher.resource == lost for watcher in watchers)
    await observed.until(lambda: len(streams(lost)) == open_streams, limit)
    mended_s = None
    if settings.mend_command is not None:
        began_again = time.monotonic()
        await subject.run_hook(settings.mend_command, settings)
        if await observed.until(
            lambda: all(newest(lost).get(device_id) == constants.HEALTHY for device_id in ids), limit
        ):
            mended_s = time.monotonic() - began_again
    seen.change = evidence.Change(lost, broken_s, mended_s, frozenset(ids), frozenset(streams(lost)))
