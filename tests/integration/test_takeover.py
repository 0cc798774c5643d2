"""Two instances of the plugin at once, as in a rolling update that overlaps (acceptance scenario 8)."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakekubelet import FakeKubelet
from tests.factories import make_config, make_tree
from tests.running import DEADLINE_S, listed, running_daemon

RESOURCE = "myplugin.io/mydevice-1"


@pytest.mark.parametrize(("mode", "registrations"), [("1.36", 3), ("1.37", 2)])
async def test_the_second_instance_serves_on_after_the_first_has_stopped(
    mode: str, registrations: int, tmp_path: Path, short_dir: Path
) -> None:
    """Up to 1.36 the kubelet closes the second's stream when the first ends, and it registers again (contract REG-13)."""
    config = make_config(make_tree(tmp_path / "tree", "node1/dev1/1"), short_dir)
    async with FakeKubelet(short_dir, mode=mode) as kubelet:
        async with running_daemon(config):
            await listed(kubelet, [RESOURCE])
            second = running_daemon(config)
            await second.__aenter__()
            await kubelet.wait_for(lambda: kubelet.live_streams(RESOURCE) == 2, timeout=DEADLINE_S)
        try:
            await kubelet.wait_for(
                lambda: (
                    len(kubelet.registrations) == registrations
                    and kubelet.live_streams(RESOURCE) == 1
                    and kubelet.allocatable == {RESOURCE: 1}
                ),
                timeout=DEADLINE_S,
            )
        finally:
            await second.__aexit__(None, None, None)
