"""What is loaded after the registration does not hold up the kubelet's calls."""

from __future__ import annotations

from tests.faults.scene import scene

TURN_CPU_S = 0.04
"""Some eight times what it takes; all of it in one turn takes twice as much as this."""


async def test_no_turn_of_the_loop_is_long_from_the_first_one_on() -> None:
    """Loaded in the loop, logs, metrics and protobuf held it for 70 ms just when the kubelet makes its first calls."""
    async with scene() as one, one.running("--http", "127.0.0.1:0"):
        await one.converged()
        await one.plugin.logged("web_serving")

        assert (await one.plugin.gauge()).turn_cpu_s < TURN_CPU_S
