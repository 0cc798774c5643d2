"""What a class says for DRA: which API, which driver, what a broken device does, the types of attributes; and a device
its attributes and taints. Read by the scanner on a fake file system."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from fakehw_plugin import inotify
from fakehw_plugin.attribute import Attribute, AttributeType, Effect, Taint
from fakehw_plugin.device import DeviceID, Health
from fakehw_plugin.offer import Api, Offer
from fakehw_plugin.resource_name import ResourceName
from fakehw_plugin.tree import attributes, scanner
from tests.unit.test_discovery import ROOT, Watches, finished

R3 = Offer(ResourceName.parse("myplugin.io/mydevice-3"))
D2 = DeviceID("node2-dev3-2")


class Desk:
    def __init__(self, fs, api=Api.DEVICE_PLUGIN, domain="myplugin.io"):
        self.fs, self.now = fs, 100.0
        self.watches = Watches()
        self.scanner = scanner.Scanner(
            ROOT, host="", domain=domain, watch=self.watches, api=api, clock=lambda: self.now
        )
        self.devices = {}
        self.write("2/health", "healthy")

    def write(self, name, text):
        path = ROOT / "node2/dev3" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if text == "" else text + "\n")

    def scan(self):
        finished(self.scanner.scan())
        self.take()

    def event(self, directory, name, mask=inotify.CLOSE_WRITE):
        target = self.watches.targets[str(ROOT / "node2" / directory)]
        finished(self.scanner.handle([inotify.Event(target, name, mask)]))
        self.take()

    def settle(self, seconds=1.0):
        self.now += seconds
        finished(self.scanner.settle())
        self.take()

    def take(self):
        for offer, devices in self.scanner.take_changes().items():
            for device_id, device in devices.items():
                self.devices[offer, device_id] = device

    @property
    def offer(self):
        (offer,) = self.scanner.offers
        return offer

    @property
    def device(self):
        return self.devices[self.offer, D2]


@pytest.fixture
def desk(fs):
    return Desk(fs)


def complaints(lines):
    return {line["event"]: line["reason"] for line in lines}


def test_a_class_is_served_by_the_default_unless_it_says_otherwise(fs):
    desk = Desk(fs)
    desk.scan()
    assert (desk.offer, desk.offer.api) == (R3, Api.DEVICE_PLUGIN)

    other = Desk(fs, api=Api.DRA)
    other.scan()
    assert (other.offer.driver, other.offer.resource) == ("myplugin.io", R3)

    desk.write("api", "dra")
    desk.write("driver", "gpu.example.com")
    desk.scan()
    assert (desk.offer.api, desk.offer.driver) == (Api.DRA, "gpu.example.com")


def test_a_class_moves_with_an_event_and_its_devices_with_it(desk):
    desk.scan()
    desk.write("2/model", "H100")
    desk.write("api", "dra")

    desk.event("dev3", "api")

    assert desk.offer == Offer(R3, "myplugin.io")
    assert desk.devices[R3, D2] is None
    assert desk.device.details.attributes == (Attribute("model", AttributeType.STRING, "H100"),)


@pytest.mark.parametrize(
    ("name", "text", "event"),
    [
        ("api", "DRA", "api_ignored"),
        ("driver", "Not a driver", "driver_ignored"),
        ("driver", "x" * 64, "driver_ignored"),
        ("unhealthy_effect", "Evict", "unhealthy_effect_ignored"),
        ("types", "slots integer", "types_ignored"),
        ("types", "slots", "types_ignored"),
    ],
)
def test_a_slip_of_the_pen_is_told_and_leaves_things_as_they_were(desk, name, text, event):
    desk.write("api", "dra")
    for known, value in {"driver": "d.io", "unhealthy_effect": "NoExecute", "types": "slots int"}.items():
        desk.write(known, value)
    desk.write("2/slots", "4")
    desk.scan()
    before = desk.offer, desk.device

    desk.write(name, text)
    with capture_logs() as lines:
        desk.event("dev3", name)

    assert (desk.offer, desk.device) == before
    assert list(complaints(lines)) == [event]
    assert before[0].driver == "d.io"
    assert desk.device.details.unhealthy_effect is Effect.NO_EXECUTE
    assert desk.device.details.attributes == (Attribute("slots", AttributeType.INT, 4),)


def test_a_file_that_is_being_written_is_not_believed_before_it_is_closed(desk):
    desk.write("api", "dra")
    desk.scan()
    before = desk.offer

    desk.write("api", "")
    desk.event("dev3", "api", inotify.MODIFY)
    assert desk.offer == before
    desk.write("api", "device-plugin")
    desk.event("dev3", "api")

    assert desk.offer == R3


def test_a_domain_that_is_too_long_for_a_driver_is_cut_with_a_word(fs):
    desk = Desk(fs, api=Api.DRA, domain="a" * 60 + ".bcdef.io")

    with capture_logs() as lines:
        desk.scan()

    assert desk.offer.driver == "a" * 60 + ".bc"
    assert list(complaints(lines)) == ["driver_ignored"]


def test_only_a_class_of_dra_has_its_attributes_read(desk):
    desk.write("2/model", "H100")
    desk.scan()

    assert desk.device.details.attributes == ()


def test_attributes_are_read_with_their_types_and_bad_ones_are_left_out(desk):
    desk.write("api", "dra")
    desk.write("types", "slots int\nmemory capacity\n\nfast bool")
    files = {
        "model": "H100",
        "slots": "four",
        "memory": "80Gi",
        "fast": "true",
        "number": "7",
        "Upper": "x",
        "long": "y" * 65,
    }
    for name, text in files.items():
        desk.write(f"2/{name}", text)

    with capture_logs() as lines:
        desk.scan()

    assert desk.device.details.attributes == (
        Attribute("fast", AttributeType.BOOL, True),
        Attribute("memory", AttributeType.CAPACITY, "80Gi"),
        Attribute("model", AttributeType.STRING, "H100"),
    )
    assert {line["path"].rsplit("/", 1)[1] for line in lines} == {"slots", "number", "long"}


def test_a_new_type_reads_the_devices_again(desk):
    desk.write("api", "dra")
    desk.write("2/slots", "4")
    desk.scan()
    desk.write("types", "slots int")

    desk.event("dev3", "types")

    assert desk.device.details.attributes == (Attribute("slots", AttributeType.INT, 4),)


def test_an_attribute_that_is_being_written_keeps_its_last_value(desk):
    desk.write("api", "dra")
    desk.write("2/model", "H100")
    desk.scan()

    desk.write("2/model", "")
    desk.event("dev3/2", "model", inotify.MODIFY)
    assert desk.device.details.attributes == (Attribute("model", AttributeType.STRING, "H100"),)
    desk.write("2/model", "H200")
    desk.event("dev3/2", "model")
    assert desk.device.details.attributes == (Attribute("model", AttributeType.STRING, "H200"),)


def test_an_attribute_that_stays_empty_is_none_after_a_moment(desk):
    desk.write("api", "dra")
    desk.write("2/model", "H100")
    desk.scan()

    desk.write("2/model", "")
    desk.event("dev3/2", "model", inotify.MODIFY)
    desk.settle()

    assert desk.device.details.attributes == ()


def test_a_flip_of_the_health_reads_no_attribute_again_and_loses_none(desk, monkeypatch):
    desk.write("api", "dra")
    desk.write("2/model", "H100")
    desk.write("2/class", "x")
    desk.write("2/taints/drain", "NoExecute")
    desk.scan()
    opened = []
    read = attributes.read
    monkeypatch.setattr(attributes, "read", lambda name, *, dir_fd: opened.append(name) or read(name, dir_fd=dir_fd))
    desk.write("2/health", "unhealthy over temperature")

    with capture_logs() as lines:
        desk.event("dev3/2", "health")

    assert opened == ["health", "numa_node"]
    assert (desk.device.health, desk.device.reason) == (Health.UNHEALTHY, "over temperature")
    assert desk.device.details.attributes == (Attribute("model", AttributeType.STRING, "H100"),)
    assert desk.device.details.taints == (Taint("drain", "", Effect.NO_EXECUTE),)
    assert complaints(lines) == {}  # what was told of `class` stands: it is told once


@pytest.mark.parametrize(
    ("directory", "name", "mask"),
    [
        ("dev3/2", "model", inotify.CLOSE_WRITE),
        ("dev3/2", "model", inotify.MOVED_TO),
        ("dev3/2", "taints", inotify.CREATE),
        ("dev3/2/taints", "drain", inotify.DELETE),
        ("dev3/2/taints", "", inotify.IGNORED),
        ("dev3", "2", inotify.MOVED_TO),
        ("dev3", "types", inotify.CLOSE_WRITE),
    ],
)
def test_whatever_else_happens_to_a_device_has_all_of_it_read(desk, directory, name, mask):
    desk.write("api", "dra")
    desk.write("2/model", "H100")
    desk.write("2/taints/drain", "NoExecute")
    desk.scan()
    desk.write("2/health", "unhealthy")
    desk.event("dev3/2", "health")
    desk.write("2/model", "7")
    desk.write("types", "model int")
    (ROOT / "node2/dev3/2/taints/drain").unlink()

    desk.event(directory, name, mask)

    type_ = AttributeType.INT if name == "types" else AttributeType.STRING
    assert desk.device.details.attributes == (Attribute("model", type_, 7 if name == "types" else "7"),)
    assert desk.device.details.taints == ()


def test_what_was_wrong_with_attributes_is_told_anew_when_a_class_comes_back_to_dra(desk):
    desk.write("api", "dra")
    desk.write("2/class", "x")
    desk.scan()
    desk.write("api", "device-plugin")
    desk.event("dev3", "api")
    desk.write("api", "dra")

    with capture_logs() as lines:
        desk.event("dev3", "api")

    assert complaints(lines) == {"attribute_ignored": "is published by the driver itself"}


def test_an_attribute_that_is_half_written_is_read_again_with_the_next_flip(desk):
    desk.write("api", "dra")
    desk.write("2/model", "H100")
    desk.scan()
    desk.write("2/model", "")
    desk.event("dev3/2", "model", inotify.MODIFY)
    desk.write("2/model", "H200")
    desk.write("2/health", "unhealthy")

    desk.event("dev3/2", "health")

    assert desk.device.details.attributes == (Attribute("model", AttributeType.STRING, "H200"),)


def test_a_whole_scan_reads_all_of_a_device(desk):
    desk.write("api", "dra")
    desk.write("2/model", "H100")
    desk.scan()
    desk.write("2/model", "H200")

    desk.scan()

    assert desk.device.details.attributes == (Attribute("model", AttributeType.STRING, "H200"),)


def test_taints_are_files_and_come_and_go_with_events(desk):
    desk.write("api", "dra")
    desk.scan()
    assert desk.device.details.taints == ()

    desk.write("2/taints/drain", "NoExecute")
    desk.event("dev3/2", "taints", inotify.CREATE)
    desk.write("2/taints/xid", "gpu.nvidia.com/xid=48:NoSchedule")
    desk.event("dev3/2/taints", "xid")

    assert desk.device.details.taints == (
        Taint("drain", "", Effect.NO_EXECUTE),
        Taint("gpu.nvidia.com/xid", "48", Effect.NO_SCHEDULE),
    )
    (ROOT / "node2/dev3/2/taints/drain").unlink()
    desk.event("dev3/2/taints", "drain", inotify.DELETE)
    assert [taint.key for taint in desk.device.details.taints] == ["gpu.nvidia.com/xid"]


def test_a_taint_that_would_have_the_slice_refused_is_left_out(desk):
    desk.write("api", "dra")
    desk.write("2/taints/good", "None")
    desk.write("2/taints/bad", "Whatever")
    desk.write("2/taints/twice", "good:None")

    with capture_logs() as lines:
        desk.scan()

    assert [taint.key for taint in desk.device.details.taints] == ["good"]
    assert sorted(line["path"].rsplit("/", 1)[1] for line in lines) == ["bad", "twice"]


def test_a_hostile_taints_directory_is_passed_over(desk):
    desk.write("api", "dra")
    (ROOT / "node2/dev3/2/taints").symlink_to("/")

    with capture_logs() as lines:
        desk.scan()

    assert desk.device.details.taints == ()
    assert list(complaints(lines)) == ["taints_ignored"]


def test_a_device_with_more_files_than_are_read_says_so(desk):
    desk.write("api", "dra")
    for number in range(70):
        desk.write(f"2/a{number:02}", "x")

    with capture_logs() as lines:
        desk.scan()

    assert len(desk.device.details.attributes) == 28
    assert set(complaints(lines)) == {"files_passed_over", "attribute_ignored"}


def test_more_attributes_and_taints_than_a_slice_takes_are_left_out_with_a_word(fs):
    desk = Desk(fs, api=Api.DRA)
    for number in range(30):
        desk.write(f"2/a{number:02}", "x")
    for number in range(17):
        desk.write(f"2/taints/t{number:02}", "None")
    with capture_logs() as lines:
        desk.scan()
        desk.settle()
    assert [one.name for one in desk.device.details.attributes][-1] == "a27"
    assert [one.key for one in desk.device.details.taints][-1] == "t14"
    told = {
        line["path"].rpartition("/")[2] for line in lines if line["event"] in ("attribute_ignored", "taint_ignored")
    }
    assert told == {"a28", "a29", "t15", "t16"}
