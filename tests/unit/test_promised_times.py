"""Times that people are promised, as numbers: a constant that changes tenfold must not take its tests along."""

from __future__ import annotations

import pytest

from fakehw_plugin import cli, endpoint, log_sink, process, rpc_faults, slices, web
from fakehw_plugin.deviceplugin import directory, neighbours, pod_resources, registration, session
from fakehw_plugin.devices import change_log, pump, retention, telemetry
from fakehw_plugin.tree import complaints, mounts, scanner

PROMISED: dict[str, tuple[object, object]] = {
    "a health file that is open is waited for (docs/reliability.md)": (scanner.WRITING_S, 0.2),
    "a file that is missing is waited for (docs/reliability.md)": (scanner.APPEARING_S, 0.025),
    "nothing holds the loop for longer (docs/reliability.md)": (slices.SLICE_S, 0.01),
    "without events everything is read this often (docs/reliability.md)": (pump.RESCAN_WITHOUT_EVENTS_S, 1.0),
    "a missing tree is looked for": (pump.MISSING_TREE_RETRY_S, 0.25),
    "two lists are at most this far apart": (pump.LONGEST_PAUSE_S, 0.1),
    "mounts are looked at after": (mounts.QUIET_S, 0.05),
    "a Register call may take (contract REG-7)": (registration.TIMEOUT_S, 15.0),
    "a stream is waited for (docs/reliability.md)": (session.STREAM_TIMEOUT_S, 5.0),
    "a stream that ended is waited for (docs/reliability.md)": (session.STREAM_LOSS_S, 2.0),
    "the first pause after a refusal": (session.FIRST_BACKOFF_S, 1.0),
    "the longest pause after refusals": (session.LAST_BACKOFF_S, 30.0),
    "a stopping server waits for its calls": (endpoint.STOP_GRACE_S, 0.2),
    "the last list of a resource may take": (endpoint.LEAVE_GRACE_S, 2.0),
    "a socket's path has at most so many bytes (contract PATH-4)": (cli.config.socket_path.MAX_BYTES, 107),
    "the kubelet's directory is looked at without events": (directory._LOOK_EVERY_S, 1.0),
    "the kubelet is asked who we are": (neighbours.LOOK_EVERY_S, 60.0),
    "PodResources may take": (pod_resources.TIMEOUT_S, 5.0),
    "a held device is looked at again (docs/reliability.md)": (retention.ASK_EVERY_S, 10.0),
    "what was handed out counts as held": (retention.RECENTLY_S, 1.0),
    "lines for the devices of one list": (change_log.MAX_LINES, 32),
    "lines for devices in a second (docs/reliability.md)": (change_log.MAX_LINES_PER_S, 200),
    "complaints that are remembered (docs/security.md)": (complaints.MAX_IN_ALL, 1000),
    "resources that are counted after they left": (telemetry.MAX_FORMER, 100),
    "a request has so many bytes (docs/security.md)": (web.MAX_REQUEST_BYTES, 4096),
    "a request may take (docs/security.md)": (web.REQUEST_TIMEOUT_S, 5.0),
    "an answer may take to be read (docs/security.md)": (web.FLUSH_TIMEOUT_S, 1.0),
    "connections at a time (docs/security.md)": (web.MAX_CONNECTIONS, 64),
    "a log line waits (docs/reliability.md)": (log_sink.PATIENCE_S, 0.02),
    "logs wait for the first registration": (process.PATIENCE_S, 0.5),
    "a fault file is looked at again (docs/tree.md)": (rpc_faults.LOOK_EVERY_S, 0.1),
}


@pytest.mark.parametrize("what", PROMISED)
def test_it_is_what_was_promised(what: str) -> None:
    actual, promised = PROMISED[what]

    assert actual == promised


def test_defaults_are_what_the_flags_say() -> None:
    defaults = {flag.name: flag.default for flag in cli.FLAGS}

    assert (defaults["--reconcile"], defaults["--quiet"], defaults["--vanished-grace"]) == ("60s", "5ms", "30s")
