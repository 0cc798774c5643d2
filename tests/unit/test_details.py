"""What a class and its devices say for DRA, read from real files: whole values, whole complaints, every limit."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import pytest

from fakehw_plugin.attribute import Attribute, AttributeType, Effect, Taint
from fakehw_plugin.offer import Api
from fakehw_plugin.tree import attributes, class_settings, details
from fakehw_plugin.tree.entries import ClassSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def write(path: Path, **files: str) -> None:
    path.mkdir(exist_ok=True)
    for name, text in files.items():
        (path / name).write_text(text)


def read(path: Path, types: dict[str, AttributeType] | None = None) -> tuple[Any, dict[tuple[str, str], str]]:
    found: dict[tuple[str, str], str] = {}
    with opened(path) as fd:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names
        result = details.read(fd, "/t", types or {}, found)
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208  # names
    return result, found


def string(name: str, value: str) -> Attribute:
    return Attribute(name, AttributeType.STRING, value)


def test_a_device_that_says_nothing_more_has_nothing(tmp_path: Path) -> None:
    write(tmp_path, health="healthy", numa_node="1", node="x")
    assert read(tmp_path) == (((), (), True), {})


def test_attributes_come_in_the_order_of_their_names_with_their_types(tmp_path: Path) -> None:
    write(
        tmp_path, slots="4", model="H100 \n", a="", **{".hidden": "x", "Upper": "x", "a-b": "x", "_a": "x", "1a": "x"}
    )
    (tmp_path / "a").unlink()
    found, complaints = read(tmp_path, {"slots": AttributeType.INT})
    assert found == ((string("model", "H100"), Attribute("slots", AttributeType.INT, 4)), (), True)
    assert complaints == {}


def test_what_cannot_be_published_is_left_out_and_told_with_the_rule(tmp_path: Path) -> None:
    write(tmp_path, slots="four", number="1", model="x" * 65, good="y", **{"class": "x"})
    (tmp_path / "link").symlink_to("good")
    (tmp_path / "dir").mkdir()
    found, complaints = read(tmp_path, {"slots": AttributeType.INT})
    assert found == ((string("good", "y"),), (), True)
    assert complaints == {
        ("/t/class", "attribute_ignored"): "is published by the driver itself",
        ("/t/number", "attribute_ignored"): "is published by the driver itself",
        ("/t/slots", "attribute_ignored"): "'four' is no whole number of 64 bits",
        ("/t/model", "attribute_ignored"): "is longer than 64 bytes",
        ("/t/link", "attribute_ignored"): "is a symbolic link, which is not followed",
        ("/t/dir", "attribute_ignored"): "is a directory",
    }


@pytest.mark.parametrize("where", ["attribute", "taint"])
def test_an_empty_file_may_be_half_written(tmp_path: Path, where: str) -> None:
    write(tmp_path, model="x")
    write(tmp_path / "taints", drain="NoExecute")
    (tmp_path / ("other" if where == "attribute" else "taints/other")).write_text("")
    found, complaints = read(tmp_path)
    assert found == ((string("model", "x"),), (Taint("drain", "", Effect.NO_EXECUTE),), False)
    assert complaints == {}


@pytest.mark.parametrize("where", ["", "taints"])
def test_a_file_that_goes_while_it_is_read_may_be_swapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    write(tmp_path, model="x")
    write(tmp_path / "taints", drain="NoExecute")
    real = attributes.read

    def swapped(name: str, *, dir_fd: int) -> str:
        if name == ("drain" if where else "model"):
            raise attributes.MissingAttributeError("is missing")
        return real(name, dir_fd=dir_fd)

    monkeypatch.setattr(attributes, "read", swapped)
    found, complaints = read(tmp_path)
    assert (len(found.attributes), len(found.taints), found.is_whole) == (1 if where else 0, 0 if where else 1, False)
    assert complaints == {}


def test_there_is_room_for_twenty_eight_attributes(tmp_path: Path) -> None:
    write(tmp_path, **{f"a{number:02}": "x" for number in range(28)})
    found, complaints = read(tmp_path)
    assert (len(found.attributes), complaints) == (28, {})
    write(tmp_path, z1="x", z2="x")
    found, complaints = read(tmp_path)
    assert [one.name for one in found.attributes] == [f"a{number:02}" for number in range(28)]
    reason = "the device has 28 already, the most there may be"
    assert complaints == {("/t/z1", "attribute_ignored"): reason, ("/t/z2", "attribute_ignored"): reason}


def test_sixty_four_files_are_looked_at(tmp_path: Path) -> None:
    write(tmp_path, **{f"A{number:02}": "x" for number in range(63)}, z="x")
    found, complaints = read(tmp_path)
    assert (found.attributes, complaints) == ((string("z", "x"),), {})
    write(tmp_path, Z="x")
    found, complaints = read(tmp_path)
    assert found.attributes == ()
    assert complaints == {("/t", "files_passed_over"): "has 65 files; the first 64 are read"}


def test_taints_come_in_the_order_of_their_files_each_key_once(tmp_path: Path) -> None:
    write(tmp_path / "taints", b="k=1:None", a="k2:NoExecute", c="k=2:None", d="nonsense", drain="NoSchedule")
    found, complaints = read(tmp_path)
    assert found.taints == (
        Taint("k2", "", Effect.NO_EXECUTE),
        Taint("k", "1", Effect.NONE),
        Taint("drain", "", Effect.NO_SCHEDULE),
    )
    assert found.is_whole
    assert complaints == {
        ("/t/taints/c", "taint_ignored"): "'k' is another file's key already",
        ("/t/taints/d", "taint_ignored"): "'nonsense' is none of None, NoSchedule, NoExecute",
    }


def test_there_is_room_for_fifteen_taints(tmp_path: Path) -> None:
    write(tmp_path / "taints", **{f"a{number:02}": "None" for number in range(16)})
    found, complaints = read(tmp_path)
    assert len(found.taints) == 15
    assert complaints == {("/t/taints/a15", "taint_ignored"): "the device has 15 already, the most there may be"}


def test_taints_that_are_no_directory_are_told(tmp_path: Path) -> None:
    write(tmp_path, taints="NoExecute")
    assert read(tmp_path) == (((), (), True), {("/t/taints", "taints_ignored"): "Not a directory"})


def test_a_directory_that_cannot_be_listed_is_told_and_has_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, model="x")

    def failing(fd: int) -> Any:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(details.os, "scandir", failing)
    assert read(tmp_path) == (((), (), True), {("/t", "directory_not_listed"): "Input/output error"})

    def starved(fd: int) -> Any:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(details.os, "scandir", starved)
    with pytest.raises(attributes.StarvedError):
        read(tmp_path)


# Settings of a class.


def settings(
    path: Path, was: ClassSettings | None = None, *, api: Api = Api.DRA, domain: str = "myplugin.io"
) -> tuple[ClassSettings, dict[tuple[str, str], str]]:
    found: dict[tuple[str, str], str] = {}
    with opened(path) as fd:
        return class_settings.read(fd, "/t", was, found, api=api, domain=domain), found


def test_a_class_that_says_nothing_is_as_the_plugin_was_told(tmp_path: Path) -> None:
    assert settings(tmp_path) == (ClassSettings(Api.DRA, "myplugin.io", Effect.NO_SCHEDULE, ()), {})
    assert settings(tmp_path, api=Api.DEVICE_PLUGIN) == (ClassSettings(Api.DEVICE_PLUGIN), {})


def test_a_class_says_who_serves_it_and_how(tmp_path: Path) -> None:
    types = "slots int\n\nmemory  capacity\nfast bool\nmodel string\nfirmware version"
    write(tmp_path, api="dra", driver="gpu.example.com", unhealthy_effect="NoExecute", types=types)
    assert settings(tmp_path, api=Api.DEVICE_PLUGIN) == (
        ClassSettings(
            Api.DRA,
            "gpu.example.com",
            Effect.NO_EXECUTE,
            (
                ("fast", AttributeType.BOOL),
                ("firmware", AttributeType.VERSION),
                ("memory", AttributeType.CAPACITY),
                ("model", AttributeType.STRING),
                ("slots", AttributeType.INT),
            ),
        ),
        {},
    )
    write(tmp_path, api="device-plugin", driver="nonsense!")
    assert settings(tmp_path) == (ClassSettings(Api.DEVICE_PLUGIN), {}), "the other files are for DRA"


LONG = "y" * 50
DRIVER_RULE = "no DNS name of at most 63 characters in lower case"
TYPE_RULE = "is no name and one of string, int, bool, version, capacity"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("api", "DRA", "says 'DRA', not device-plugin or dra"),
        ("api", LONG, f"says {LONG[:40]!r}, not device-plugin or dra"),
        ("driver", "A.b", f"says 'A.b', {DRIVER_RULE}"),
        ("driver", "a..b", f"says 'a..b', {DRIVER_RULE}"),
        ("driver", "a" * 64, f"says {'a' * 40!r}, {DRIVER_RULE}"),
        ("driver", "", f"says '', {DRIVER_RULE}"),
        ("unhealthy_effect", "Evict", "says 'Evict', none of None, NoSchedule, NoExecute"),
        ("unhealthy_effect", LONG, f"says {LONG[:40]!r}, none of None, NoSchedule, NoExecute"),
        ("types", "slots", f"line 'slots' {TYPE_RULE}"),
        ("types", "slots int\nslots a b", f"line 'slots a b' {TYPE_RULE}"),
        ("types", LONG, f"line {LONG[:40]!r} {TYPE_RULE}"),
    ],
)
@pytest.mark.parametrize("was", [None, ClassSettings(Api.DRA, "d.io", Effect.NONE, (("a", AttributeType.INT),))])
def test_a_slip_is_told_with_the_rule_and_what_was_before_stands(
    tmp_path: Path, name: str, text: str, reason: str, was: ClassSettings | None
) -> None:
    write(tmp_path, api="dra", driver="d.io", unhealthy_effect="None", types="a int")
    write(tmp_path, **{name: text})
    plain = ClassSettings(Api.DRA, "d.io", Effect.NONE, (("a", AttributeType.INT),))
    absent = {"driver": "myplugin.io", "unhealthy_effect": Effect.NO_SCHEDULE, "types": (), "api": Api.DRA}
    expected = plain if was is not None else plain._replace(**{name: absent[name]})
    assert settings(tmp_path, was) == (expected, {(f"/t/{name}", f"{name}_ignored"): reason})


def test_a_driver_of_just_sixty_three_characters_is_one(tmp_path: Path) -> None:
    write(tmp_path, driver="a" * 63)
    assert settings(tmp_path)[0].driver == "a" * 63


@pytest.mark.parametrize(
    ("domain", "driver", "is_told"),
    [
        ("a" * 63, "a" * 63, False),
        ("a" * 64, "a" * 63, True),
        ("a" * 62 + ".b", "a" * 62, True),
        ("a" * 61 + "-.b", "a" * 61, True),
    ],
)
def test_a_domain_that_is_too_long_for_a_driver_is_cut_and_told(
    tmp_path: Path, domain: str, driver: str, is_told: bool
) -> None:
    reason = "the domain is no driver's name: it has more than 63 characters"
    found, complaints = settings(tmp_path, domain=domain)
    assert found.driver == driver
    assert complaints == ({("/t/driver", "driver_ignored"): reason} if is_told else {})


def test_what_was_served_by_the_other_api_before_has_the_domain_s_driver(tmp_path: Path) -> None:
    write(tmp_path, driver="Not one")
    assert settings(tmp_path, ClassSettings(Api.DEVICE_PLUGIN))[0].driver == "myplugin.io"
