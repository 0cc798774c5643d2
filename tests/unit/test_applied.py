"""What a tree remembers of the specs it was built from, and what becomes of that between a build and its end."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

import fakehw
from fakehw.errors import TreeError
from fakehw.spec.topology import Topology
from fakehw.tree import applied, directory
from fakehw.tree.applied import Applied


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    with directory.opened(str(tmp_path)) as opened:
        yield opened


def spec(count: int, host: str | None = None) -> Topology:
    return fakehw.make_topology({"nodes": {"n": {"host": "h", "classes": {"dev1": {"count": count}}}}}, host=host)


def plain(topology: Topology) -> dict[str, object]:
    return {"host": topology.only_host, "spec": dict(topology.document)}


def files(path: Path) -> dict[str, object]:
    return {each.name: json.loads(each.read_text()) for each in path.iterdir()}


def test_a_tree_that_nobody_built_remembers_nothing(fd: int) -> None:
    remembered = applied.read(fd, root="/t")
    assert remembered == Applied((), ())
    assert (remembered.all, remembered.last) == ((), None)


def test_the_last_of_all_is_the_newest_one_begun() -> None:
    one, two, three = spec(1), spec(2), spec(3)
    assert Applied((one, two), (three,)).all == (one, two, three)
    assert Applied((one, two), (three,)).last is three
    assert Applied((one, two)).last is two


def test_a_build_is_announced_and_then_concluded(tmp_path: Path, fd: int) -> None:
    one, two, three = plain(spec(1)), plain(spec(2)), plain(spec(3, host="h"))
    applied.announce(spec(1), before=Applied(), private_fd=fd)
    assert files(tmp_path) == {"pending.json": [one], "next.json": [one]}
    assert applied.read(fd, root="/t") == Applied((), (spec(1),))
    applied.conclude(spec(1), private_fd=fd)
    assert files(tmp_path) == {"applied.json": [one]}

    applied.announce(spec(2), before=applied.read(fd, root="/t"), private_fd=fd)
    applied.announce(spec(3, host="h"), before=applied.read(fd, root="/t"), private_fd=fd)
    assert files(tmp_path) == {"applied.json": [one], "pending.json": [two, three], "next.json": [three]}
    applied.announce(spec(2), before=applied.read(fd, root="/t"), private_fd=fd)
    assert files(tmp_path) == {"applied.json": [one], "pending.json": [three, two], "next.json": [two]}
    remembered = applied.read(fd, root="/t")
    assert [topology.device_count for topology in remembered.all] == [1, 3, 2]
    assert [topology.only_host for topology in remembered.all] == [None, "h", None]
    applied.conclude(spec(2), private_fd=fd)
    assert files(tmp_path) == {"applied.json": [two]}


def test_those_of_which_something_is_left_are_remembered_before_the_last(tmp_path: Path, fd: int) -> None:
    applied.announce(spec(2), before=Applied(), private_fd=fd)
    applied.conclude(spec(2), unfinished=[spec(1), spec(2), spec(3)], private_fd=fd)
    assert files(tmp_path) == {"applied.json": [plain(spec(1)), plain(spec(3)), plain(spec(2))]}
    assert applied.read(fd, root="/t") == Applied((spec(1), spec(3), spec(2)), ())


def test_what_is_remembered_is_readable_for_all_and_as_it_was_written(tmp_path: Path, fd: int) -> None:
    (tmp_path / "pending.json.new").write_text("of a writer that was killed")
    topology = fakehw.make_topology({"nodes": {"n": {"classes": {"dev1": {"count": 1, "attributes": {"a": "é"}}}}}})
    applied.announce(topology, before=Applied(), private_fd=fd)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["next.json", "pending.json"]
    assert '"é"' in (tmp_path / "next.json").read_text()
    assert stat.S_IMODE((tmp_path / "next.json").stat().st_mode) == 0o644


@pytest.mark.parametrize("name", ["applied.json", "pending.json"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is damaged"),
        ("3", "is damaged"),
        ("[3]", "is damaged"),
        ("[{}]", "is damaged"),
        ('[{"host": null}]', "is damaged"),
        ('[{"host": null, "spec": 3}]', "is damaged"),
        ('[{"host": null, "spec": {"nodes": {"..": {}}}}]', "is damaged"),
        ("[" * 99_999, "is damaged"),
        (b"\xff", "is not UTF-8 text"),
        (None, "is a directory"),
    ],
)
def test_what_is_damaged_is_one_line_that_says_what_to_do(
    tmp_path: Path, fd: int, name: str, text: str | bytes | None, said: str
) -> None:
    if text is None:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(TreeError) as caught:
        applied.read(fd, root="/t")
    assert caught.value.lines == (f"/t/.fakehw/{name}: {said}: remove it, or start over (--reset)",)


def test_what_is_remembered_may_be_longer_than_a_value(tmp_path: Path, fd: int) -> None:
    nodes = {f"n{number}": {"host": f"h{number}"} for number in range(300)}
    topology = fakehw.make_topology({"nodes": nodes})
    applied.announce(topology, before=Applied(), private_fd=fd)
    assert (tmp_path / "next.json").stat().st_size > 4096
    assert applied.read(fd, root="/t").last == topology
