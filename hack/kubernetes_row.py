"""Try the cluster in KUBECONFIG and write its row into docs/fake-kubelet.md: `make kubernetes-row`.

The claims of tests/fidelity are tried on the kubelet of NODE, as root on its machine (settings as of `make fidelity`),
and at the same time, with the same code, on the fake kubelet of that release; then `make e2e` is run, unless
E2E=no (E2E=only leaves the claims out). It takes a quarter of an hour, most of which a real kubelet spends waiting. A
claim that holds on other releases only has to fail on this one, and counts as a difference that was confirmed.

What was found stays in build/kubernetes-row, so that TESTS="-k name" tries a few claims again and the row has the rest
from before.
"""

from __future__ import annotations

import datetime
import functools
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

from hack import fidelity

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "fake-kubelet.md"
LOGS = ROOT / "build" / "kubernetes-row"
END = "the end of the run"
"""Stands among the tests if a run was cut off; only a whole new one makes that good."""
PYTEST, FIDELITY = ([sys.executable, "-m", module] for module in ("pytest", "hack.fidelity"))
HEAD = "| Kubernetes | Claims, real | Claims, fake | Other than on 1.36 | `make e2e` | Runtime | Tried on |"


def main(arguments: list[str]) -> int:
    """Run it all, or what pytest's `arguments` choose of the claims; return 0 if everything was as claimed."""
    import lightkube  # here: it takes a second to load
    from lightkube.resources.core_v1 import Node

    node = lightkube.Client().get(Node, os.environ.get("NODE") or "kind-worker")
    assert node.status is not None
    assert node.status.nodeInfo is not None
    info = node.status.nodeInfo
    release = ".".join(info.kubeletVersion.removeprefix("v").split(".")[:2])
    out = LOGS / release
    out.mkdir(parents=True, exist_ok=True)
    fake = [*PYTEST, "--numprocesses", "0", f"--junit-xml={out / 'fake.xml'}", "tests/fidelity", *arguments]
    claims = [
        functools.partial(run, out, "real", [*FIDELITY, "--junit", str(out), *arguments], afresh=not arguments),
        functools.partial(run, out, "fake", fake, afresh=not arguments, FIDELITY_MODE=release),
    ]
    wanted = os.environ.get("E2E", "")
    codes = []
    if wanted != "only":
        with ThreadPoolExecutor() as pool:
            codes += [future.result() for future in [pool.submit(part) for part in claims]]
    if wanted != "no" and not arguments:
        codes.append(run(out, "e2e", ["hack/cluster.sh", "e2e"], TESTS=f"--junit-xml={out / 'e2e.xml'}"))
    cells = [
        info.kubeletVersion.removeprefix("v"),
        told(out, "real"),
        told(out, "fake"),
        ", ".join(sorted({fact_of(test) for test, how in results(out, "real").items() if how == "xfailed"}))
        or "nothing",
        told(out, "e2e"),
        info.containerRuntimeVersion.replace("://", " "),
        datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    ]
    PAGE.write_text(with_row(PAGE.read_text(), cells))
    print(f"{HEAD}\n| {' | '.join(cells)} |\nlogs: {out.relative_to(ROOT)}")
    return int(any(codes))


def run(out: Path, name: str, command: list[str], *, afresh: bool = True, **environ: str) -> int:
    """Run a command, add how its tests ended to NAME.json, and return how it ended itself."""
    for path in (*out.glob(f"{name}*.xml"), *([out / f"{name}.json"] if afresh else [])):
        path.unlink(missing_ok=True)
    with (out / f"{name}.log").open("wb") as log:
        code = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **environ},
            stdout=log,
            stderr=log,
            check=False,
        ).returncode
    written = [read(path) for path in out.glob(f"{name}*.xml")]
    ended = {test: how for tests in (results(out, name), *written) for test, how in tests.items()}
    if len(written) < len(fidelity.PARTS if name == "real" else [name]) or code not in (0, 1, fidelity.NOTHING_CHOSEN):
        ended[END] = "failed"
    (out / f"{name}.json").write_text(json.dumps(ended, indent=1))
    return code


def read(path: Path) -> dict[str, str]:
    """Return how the tests of a run ended; what JUnit calls skipped may be an expected failure."""
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))  # noqa: S314 - pytest has just written it
    except ElementTree.ParseError:
        return {END: "failed"}
    return {case.get("name") or "": how_it_ended(case) for case in cases}


def how_it_ended(case: ElementTree.Element) -> str:
    """Return passed, failed, skipped or xfailed."""
    skipped = case.find("skipped")
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    if skipped is not None:
        return "xfailed" if skipped.get("type") == "pytest.xfail" else "skipped"
    return "passed"


def results(out: Path, name: str) -> dict[str, str]:
    """Return how every test ended when it was last run."""
    path = out / f"{name}.json"
    found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return found


def told(out: Path, name: str) -> str:
    """Return how the tests ended, in a cell's words."""
    tried = {test: how for test, how in results(out, name).items() if how != "skipped"}
    if not tried:
        return "not run"
    failed = [test for test, how in tried.items() if how == "failed"]
    return f"{len(tried) - len(failed)} of {len(tried)}" + (
        f"; **not** {', '.join(f'`{test}`' for test in failed)}" if failed else ""
    )


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
    sys.exit(main(sys.argv[1:]))
