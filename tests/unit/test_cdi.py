"""What a runtime makes of CDI files."""

import json

import pytest

from fakekubelet.dra import cdi

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
