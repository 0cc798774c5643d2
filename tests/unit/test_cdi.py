"""What a runtime makes of CDI files."""

import json

import pytest

from fakekubelet.dra import cdi
from fakekubelet.kubelet.container_options import DeviceNode, Mount

GOOD = {
    "cdiVersion": "0.5.0",
    "kind": "example.com/gem",
    "containerEdits": {"env": ["ALL=1"]},
    "devices": [
        {"name": "a", "containerEdits": {"env": ["A=1", "SAME=a"], "mounts": [{"hostPath": "/h", "containerPath": "/c", "options": ["ro", "bind"]}]}},
        {"name": "b", "containerEdits": {"env": ["SAME=b"], "deviceNodes": [{"path": "/dev/b", "hostPath": "/dev/real", "permissions": "rw"}]}},
    ],
}  # fmt: skip


def changed(**fields):
    return {**GOOD, **fields}


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "gem.json").write_text(json.dumps(GOOD))
    return tmp_path


def test_ids_become_environment_mounts_and_nodes_in_their_order(directory):
    edits = cdi.Cdi([directory]).inject(["example.com/gem=a", "example.com/gem=b", "example.com/gem=a"])

    assert edits.env == {"ALL": "1", "A": "1", "SAME": "b"}
    assert edits.mounts["/c"].host_path == "/h"
    assert edits.mounts["/c"].read_only
    assert edits.devices["/dev/b"].host_path == "/dev/real"


def test_ids_nobody_describes_are_named_together(directory):
    with pytest.raises(cdi.CdiError, match=r"unresolvable CDI devices example\.com/gem=c, other/x=y"):
        cdi.Cdi([directory]).inject(["example.com/gem=c", "example.com/gem=a", "other/x=y"])


def test_one_bad_file_hides_no_other_and_unfinished_ones_are_not_read(directory):
    (directory / "bad.json").write_text("{")
    (directory / ".gem.json.new.json").write_text("{")
    (directory / "also.yaml").write_text(
        "cdiVersion: 0.3.0\nkind: v/c\ndevices: [{name: d, containerEdits: {env: [X=1]}}]\n"
    )
    specs, errors = cdi.Cdi([directory, directory / "missing"]).specs()

    assert [spec.path.name for spec in specs] == ["also.yaml", "gem.json"]
    assert len(errors) == 1
    assert errors[0].startswith("bad.json: ")


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (changed(cdiVersion="1"), "cdiVersion '1' is no version"),
        (changed(cdiVersion="0.3.0"), "too low for hostPath of device nodes, which need 0.5.0"),
        (changed(kind="gem"), "kind 'gem' is not vendor/class"),
        (changed(kind="example.com/g.m"), "too low for annotations and dots in the class, which need 0.6.0"),
        (changed(colour="red"), "unknown field 'colour'"),
        (changed(devices=[]), "there are no devices"),
        (changed(devices=[GOOD["devices"][0]] * 2), "device a is there twice"),
        (changed(devices=[{"name": "a b", "containerEdits": {"env": ["A=1"]}}]), "device name 'a b' is none"),
        (changed(devices=[{"name": "a", "containerEdits": {"env": ["A"]}}]), "env 'A' is not NAME=value"),
        (changed(devices=[{"name": "a", "containerEdits": {"mounts": [{"hostPath": "/h"}]}}]), "needs hostPath and containerPath"),
        (changed(devices=[{"name": "a"}]), "device a has no containerEdits"),
        ([], "a spec must be an object"),
    ],
)  # fmt: skip
def test_what_is_no_spec_is_refused_with_the_rule(tmp_path, spec, text):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(spec))

    with pytest.raises(cdi.CdiError, match=text.replace(".", r"\.")):
        cdi.read(path)


NEEDS = {  # what a spec has: the first version that knows it (the CDI specification's own list)
    "nothing of that": ({}, "0.3.0"),
    "types of mounts": ({"mounts": [{"hostPath": "/h", "containerPath": "/c", "type": "bind"}]}, "0.4.0"),
    "hostPath of a node": ({"deviceNodes": [{"path": "/dev/a", "hostPath": "/dev/b"}]}, "0.5.0"),
    "additional groups": ({"additionalGids": [5]}, "0.7.0"),
}
VERSIONS = ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("what", NEEDS)
@pytest.mark.parametrize(
    ("name", "kind", "least"), [("a", "v/c", "0.3.0"), ("1", "v/c", "0.5.0"), ("1", "v/c.d", "0.6.0")]
)
def test_a_spec_needs_the_highest_version_that_anything_in_it_needs(tmp_path, name, kind, least, what, version):
    edits, needed = NEEDS[what]
    device = {"name": name, "containerEdits": {"env": ["A=1"], **edits}}
    content = {"cdiVersion": version, "kind": kind, "devices": [device]}
    (tmp_path / "x.json").write_text(json.dumps(content))
    specs, errors = cdi.Cdi([tmp_path]).specs()

    assert bool(specs) == (version >= max(least, needed)), errors
    assert bool(errors) != bool(specs)


WHOLE = """
cdiVersion: v0.7.0
kind: v/c.d
annotations: {a: b}
containerEdits:
  env: [ALL=1, EMPTY=, "EQUALS=a=b"]
  hooks: []
devices:
- name: a
  annotations: {}
  containerEdits:
    env: [A=1]
    mounts:
    - {hostPath: /h, containerPath: /c, options: [ro, bind], type: bind}
    - {hostPath: /h2, containerPath: /c2, options: [rw]}
    - {hostPath: /h3, containerPath: /c3}
    deviceNodes:
    - {path: /dev/a, hostPath: /dev/x, permissions: r, type: c, major: 1, minor: 2, fileMode: 438, uid: 0, gid: 0}
    - {path: /dev/b}
    intelRdt: {}
    additionalGids: [5]
- name: 9.x
  containerEdits: {mounts: [{hostPath: /other, containerPath: /c}], env: [A=2], deviceNodes: [{path: /dev/b, hostPath: /dev/y}]}
"""


def test_all_that_a_spec_may_have_is_read_and_put_into_a_container(tmp_path):
    (tmp_path / "x.yaml").write_text(WHOLE)

    spec = cdi.read(tmp_path / "x.yaml")
    assert (spec.path, spec.kind, spec.version, sorted(spec.devices)) == (
        tmp_path / "x.yaml",
        "v/c.d",
        (0, 7, 0),
        ["9.x", "a"],
    )
    one, both = (cdi.Cdi([tmp_path]).inject([f"v/c.d={name}" for name in names]) for names in (["a"], ["a", "9.x"]))
    env = {"ALL": "1", "EMPTY": "", "EQUALS": "a=b", "A": "1"}
    mounts = {"/c": Mount("/c", "/h", True), "/c2": Mount("/c2", "/h2", False), "/c3": Mount("/c3", "/h3", False)}
    nodes = {"/dev/a": DeviceNode("/dev/a", "/dev/x", "r"), "/dev/b": DeviceNode("/dev/b", "/dev/b", "rwm")}
    assert one == cdi.Edits(env, mounts, nodes)
    assert both == cdi.Edits(
        {**env, "A": "2"},
        {**mounts, "/c": Mount("/c", "/other", False)},
        {**nodes, "/dev/b": DeviceNode("/dev/b", "/dev/y", "rwm")},
    )
    assert cdi.Cdi([tmp_path]).inject([]) == cdi.Edits()


def a_spec(tmp_path, name, value, *, common="", device="a"):
    edits = {"env": [f"COMMON={common}"]} if common else {}
    devices = [{"name": device, "containerEdits": {"env": [f"A={value}"]}}]
    (tmp_path / name).write_text(
        json.dumps({"cdiVersion": "0.3.0", "kind": "v/c", "containerEdits": edits, "devices": devices})
    )


def test_the_later_directory_wins_and_in_it_the_later_name(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    for directory in (first, second):
        directory.mkdir()
    a_spec(first, "z.json", "1z", common="1")
    a_spec(first, "only.json", "1", device="b")
    a_spec(second, "a.json", "2a", common="2a")
    assert cdi.Cdi([first, second]).inject(["v/c=a"]).env == {"COMMON": "2a", "A": "2a"}
    a_spec(second, "b.json", "2b")
    assert cdi.Cdi([first, second]).inject(["v/c=a"]).env == {"A": "2b"}
    assert cdi.Cdi([second, first]).inject(["v/c=a"]).env == {"COMMON": "1", "A": "1z"}
    assert cdi.Cdi([first, second]).inject(["v/c=a", "v/c=b"]).env == {"A": "1"}


def test_what_is_common_to_a_spec_is_put_in_once_before_its_first_device(directory):
    """The second device's own value stays: what is common does not come over it again."""
    spec = changed(containerEdits={"env": ["SAME=common"]})
    (directory / "gem.json").write_text(json.dumps(spec))

    assert cdi.Cdi([directory]).inject(["example.com/gem=a", "example.com/gem=b"]).env == {"SAME": "b", "A": "1"}
    spec["devices"][1]["containerEdits"] = {"env": ["B=1"]}
    (directory / "gem.json").write_text(json.dumps(spec))
    assert cdi.Cdi([directory]).inject(["example.com/gem=a", "example.com/gem=b"]).env == {
        "SAME": "a",
        "A": "1",
        "B": "1",
    }


@pytest.mark.parametrize("name", ["x.yml", "x.txt", "json", ".x.json", "x.json.tmp"])
def test_files_of_other_names_are_not_read(tmp_path, name):
    (tmp_path / name).write_text("{")

    assert cdi.Cdi([tmp_path]).specs() == ([], [])


def device_with(**edits):
    return changed(devices=[{"name": "a", "containerEdits": edits}])


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (7, "a spec must be an object"), (changed(zebra=1, colour=2), "a spec: unknown field 'colour'"), (changed(cdiVersion=None), "cdiVersion None is no version"),
        (changed(cdiVersion=0.5), "cdiVersion 0.5 is no version"), (changed(cdiVersion="0.5.0-rc"), "cdiVersion '0.5.0-rc' is no version"),
        (changed(kind=7), "kind 7 is not vendor/class"), (changed(kind="a/b=c"), "kind 'a/b=c' is not vendor/class"), (changed(kind="a/-b"), "kind 'a/-b' is not vendor/class"),
        (changed(devices=None), "there are no devices"), (changed(devices=["a"]), "a device must be an object"),
        (changed(devices=[{"name": "a", "colour": 1}]), "a device: unknown field 'colour'"), (changed(devices=[{}]), "device name None is none"),
        (changed(devices=[{"name": 7}]), "device name 7 is none"), (changed(devices=[{"name": "a."}]), "device name 'a.' is none"),
        (changed(devices=[{"name": "a", "containerEdits": {}}]), "device a has no containerEdits"),
        (device_with(colour=1), "device a: unknown field 'colour'"), (changed(containerEdits=[1]), "containerEdits must be an object"),
        (changed(containerEdits={"colour": 1}), "containerEdits: unknown field 'colour'"),
        (device_with(env=["=a"]), "device a: env '=a' is not NAME=value"), (device_with(env=[7]), "device a: env 7 is not NAME=value"),
        (device_with(mounts=["a"]), "device a: a mount must be an object"), (device_with(mounts=[{"x": 1}]), "device a: a mount: unknown field 'x'"),
        (device_with(mounts=[{"containerPath": "/c"}]), "device a: a mount needs hostPath and containerPath"),
        (device_with(mounts=[{"hostPath": "/h", "containerPath": ""}]), "device a: a mount needs hostPath and containerPath"),
        (device_with(deviceNodes=["a"]), "device a: a device node must be an object"), (device_with(deviceNodes=[{"x": 1}]), "device a: a device node: unknown field 'x'"),
        (device_with(deviceNodes=[{"hostPath": "/dev/a"}]), "device a: a device node needs a path"),
        (changed(containerEdits={"deviceNodes": [{}]}), "containerEdits: a device node needs a path"),
        (changed(cdiVersion="0.5.9", annotations={"a": "b"}), "cdiVersion 0.5.9 is too low for annotations and dots in the class, which need 0.6.0"),
        (changed(cdiVersion="0.2.9", devices=[{"name": "a", "containerEdits": {"env": ["A=1"]}}]), "cdiVersion 0.2.9 is too low for a spec, which need 0.3.0"),
        (
            changed(cdiVersion="0.3.0", containerEdits={"mounts": [{"hostPath": "/h", "containerPath": "/c", "type": "bind"}]}, devices=[{"name": "a", "containerEdits": {"env": ["A=1"]}}]),
            "cdiVersion 0.3.0 is too low for types of mounts, which need 0.4.0",
        ),
        (
            changed(cdiVersion="0.4.0", devices=[{"name": "1a", "containerEdits": {"env": ["A=1"]}}]),
            "cdiVersion 0.4.0 is too low for device names that begin with a digit, which need 0.5.0",
        ),
        (changed(cdiVersion="0.6.0", containerEdits={"intelRdt": {}}), "cdiVersion 0.6.0 is too low for intelRdt and additionalGids, which need 0.7.0"),
        (changed(cdiVersion="0.6.0", containerEdits={"additionalGIDs": [1]}), "cdiVersion 0.6.0 is too low for intelRdt and additionalGids, which need 0.7.0"),
        (changed(cdiVersion="1.0.0", containerEdits={"netDevices": []}), "cdiVersion 1.0.0 is too low for netDevices, which need 1.1.0"),
    ],
)  # fmt: skip
def test_each_rule_of_a_spec_is_said_whole(tmp_path, spec, text):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(spec))

    with pytest.raises(cdi.CdiError) as caught:
        cdi.read(path)
    assert str(caught.value) == f"x.json: {text}"


@pytest.mark.parametrize("version", ["1.1.0", "1.10.0", "2.0.0"])
def test_newer_versions_are_newer_by_number(tmp_path, version):
    (tmp_path / "x.json").write_text(json.dumps(changed(cdiVersion=version, containerEdits={"netDevices": []})))

    assert cdi.read(tmp_path / "x.json").version == tuple(map(int, version.split(".")))


@pytest.mark.parametrize(
    ("name", "content"), [("x.json", b"{"), ("x.json", b"\xff"), ("x.yaml", b"a: [b"), ("x.yaml", b"a: b: c")]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(cdi.CdiError, match=f"^{name}: "):
        cdi.read(tmp_path / name)


def test_a_file_that_has_gone_is_named(tmp_path):
    with pytest.raises(cdi.CdiError, match=r"^x\.json: .*No such file"):
        cdi.read(tmp_path / "x.json")
