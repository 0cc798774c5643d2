"""Try the cluster in KUBECONFIG and write its row into docs/fake-kubelet.md: `make kubernetes-row`.

The claims of tests/fidelity are tried on the kubelet of NODE, as root on its machine (settings as of `make fidelity`),
and at the same time, with the same code, on the fake kubelet of that release; then `make e2e` is run, unless
E2E=no. It takes half an hour, most of which a real kubelet spends waiting. A claim that holds on other releases only
has to fail on this one, and counts as a difference that was confirmed.
"""

from __future__ import annotations

import collections
import datetime
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "fake-kubelet.md"
OUT = ROOT / "build" / "kubernetes-row"
HEAD = "| Kubernetes | Claims, real | Claims, fake | Other than on 1.36 | `make e2e` | Runtime | Tried on |"


def main() -> int:
    """Run it all; return 0 if everything was as claimed."""
    import lightkube  # here: it takes a second to load
    from lightkube.resources.core_v1 import Node

    node = lightkube.Client().get(Node, os.environ.get("NODE") or "kind-worker")
    assert node.status is not None
    assert node.status.nodeInfo is not None
    info = node.status.nodeInfo
    release = ".".join(info.kubeletVersion.removeprefix("v").split(".")[:2])
    OUT.mkdir(parents=True, exist_ok=True)
    real = start("real", ["-m", "cluster", "tests/fidelity"])
    fake = start("fake", ["tests/fidelity"], FIDELITY_MODE=release)
    runs = [real, fake]
    codes = [process.wait() for process in runs]
    if os.environ.get("E2E") != "no":
        runs.append(start("e2e", ["-m", "cluster", "tests/e2e/test_cluster.py"]))
        codes.append(runs[-1].wait())
    cells = [
        info.kubeletVersion.removeprefix("v"),
        told("real"),
        told("fake"),
        ", ".join(sorted({fact_of(name) for name in results("real")["xfailed"]})) or "nothing",
        told("e2e") if len(runs) > 2 else "not run",
        info.containerRuntimeVersion.replace("://", " "),
        datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    ]
    PAGE.write_text(with_row(PAGE.read_text(), cells))
    print(f"{HEAD}\n| {' | '.join(cells)} |\nlogs: {OUT.relative_to(ROOT)}")
    return int(any(codes))


def start(name: str, arguments: list[str], **environ: str) -> subprocess.Popen[bytes]:
    """Begin a run of pytest that leaves its results and its log in OUT."""
    (OUT / f"{name}.xml").unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--numprocesses",
        "0",
        "-o",
        "log_cli=false",
        f"--junit-xml={OUT / name}.xml",
    ]
    with (OUT / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [*command, *arguments], cwd=ROOT, env={**os.environ, **environ}, stdout=log, stderr=subprocess.STDOUT
        )


def results(name: str) -> dict[str, list[str]]:
    """Return the names of the tests of a run by how they ended; what JUnit calls skipped may be an expected failure."""
    ended: dict[str, list[str]] = collections.defaultdict(list)
    for case in ElementTree.parse(OUT / f"{name}.xml").iter("testcase"):  # noqa: S314 - pytest has just written it
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            how = "failed"
        elif skipped is not None:
            how = "xfailed" if skipped.get("type") == "pytest.xfail" else "skipped"
        else:
            how = "passed"
        ended[how].append(case.get("name") or "")
    return ended


def told(name: str) -> str:
    """Return how a run ended, in a cell's words."""
    try:
        ended = results(name)
    except (OSError, ElementTree.ParseError):
        return "**did not run to its end**"
    tried = sum(len(ended[how]) for how in ("passed", "xfailed", "failed"))
    failed = ", ".join(f"`{test}`" for test in ended["failed"])
    return f"{tried - len(ended['failed'])} of {tried}" + (f"; **not** {failed}" if failed else "")


def fact_of(test: str) -> str:
    """Return the number of the fact that a claim is named after."""
    found = re.match(r"test_([a-z]+)_([0-9]+)_", test)
    return f"{found[1].upper()}-{found[2]}" if found else test


def with_row(page: str, cells: list[str]) -> str:
    """Return the page with the row in its table, in the place of the one for the same minor, in order."""
    head, _, rest = page.partition(f"{HEAD}\n")
    if not rest:
        raise SystemExit(f"{PAGE.relative_to(ROOT)} has no table {HEAD!r}")
    rule, *lines = rest.split("\n")
    rows = {minor_of(line): line for line in lines[: lines.index("")] if line.startswith("|")}
    row = f"| {' | '.join(cells)} |"
    rows[minor_of(row)] = row
    return "\n".join([f"{head}{HEAD}", rule, *(rows[minor] for minor in sorted(rows)), *lines[lines.index("") :]])


def minor_of(row: str) -> int:
    """Return the minor that a row is about."""
    return int(row.split("|")[1].split(".")[1])


if __name__ == "__main__":
    sys.exit(main())
