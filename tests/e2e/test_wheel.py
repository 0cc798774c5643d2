"""The wheel in an environment of its own, where nothing is but what it brings and its dependencies.

The dependencies are those of the environment that runs the tests: the new one only names their directory. The editable
installation that is there too is none for it, because a directory that is named so brings no `.pth` of its own.
Off by default, because it takes some twenty seconds: `make test-wheel`.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import sysconfig
import termios
import time
import venv
from pathlib import Path

import pyte
import pytest

pytestmark = pytest.mark.wheel

ROOT = Path(__file__).parents[2]
STUBS = ROOT / "tests" / "own_stubs"
COMMANDS = ("fakehw", "fakehw-plugin", "fakehw-fleet", "fakehw-conformance")
PROFILES = tuple(sorted(path.stem for path in (ROOT / "fakehw" / "spec" / "profiles").glob("*.yaml")))
COLUMNS, LINES = 80, 24


@pytest.fixture(scope="module")
def bin_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with the wheel in it."""
    place = tmp_path_factory.mktemp("wheel")
    source, wheels, environment = place / "source", place / "wheels", place / "venv"
    source.mkdir()
    for name in (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "deploy",
        "fakehw",
        "plugin",
    ):  # setuptools writes beside them
        subprocess.run(["cp", "-r", ROOT / name, source], check=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", "-w", wheels, source], check=True)
    venv.create(environment, with_pip=False, symlinks=True)
    (wheel,) = wheels.iterdir()
    subprocess.run([*pip, "--python", environment / "bin" / "python", "install", *offline, wheel], check=True)
    packages = next((environment / "lib").glob("python*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    script = environment / "bin" / "pytest"
    script.write_text(f"#!{environment}/bin/python\nimport sys, pytest\nsys.exit(pytest.console_main())\n")
    script.chmod(0o755)
    return environment / "bin"


def run(command: list[str | Path], folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "FAKEHW"))}
    return subprocess.run(
        command, cwd=folder, env={**kept, **environ}, capture_output=True, text=True, timeout=60, check=False
    )


def test_nothing_is_called_plugin(bin_dir: Path, tmp_path: Path) -> None:
    done = run([bin_dir / "python", "-c", "import plugin"], tmp_path)

    assert "ModuleNotFoundError: No module named 'plugin'" in done.stderr


def test_every_package_comes_from_the_wheel_with_its_data(bin_dir: Path, tmp_path: Path) -> None:
    code = (
        "import fakehw, fakehw_plugin, fakekubelet, kubeletapi, pytest_fakekubelet, pathlib\n"
        "for package in (fakehw, fakehw_plugin, fakekubelet, kubeletapi, pytest_fakekubelet):\n"
        "    print(package.__file__, (pathlib.Path(package.__file__).parent / 'py.typed').exists())"
    )
    lines = run([bin_dir / "python", "-c", code], tmp_path).stdout.splitlines()

    assert len(lines) == 5
    for line in lines:
        assert line.startswith(str(bin_dir.parent))
        assert line.endswith("True")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_answers_in_a_project_with_packages_of_our_names(bin_dir: Path, tmp_path: Path, command: str) -> None:
    own_packages(tmp_path, "plugin")

    done = run([bin_dir / command, "--version"], tmp_path, PYTHONPATH=".")

    assert done.stdout.startswith(f"{command} "), done.stderr


@pytest.mark.parametrize("module", ["fakehw", "fakehw_plugin", "fakekubelet.conformance"])
def test_every_command_is_a_module_too(bin_dir: Path, tmp_path: Path, module: str) -> None:
    done = run([bin_dir / "python", "-m", module, "--version"], tmp_path)

    assert done.returncode == 0, done.stderr


def own_packages(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("OWN = True\n")


PLAIN = """
import fakekubelet
from fakekubelet import pod, stub_plugin

def test_plain(fake_kubelet):
    with fakekubelet.Blocking(fakekubelet.StubPlugin(fake_kubelet.plugin_dir, "example.com/x", stub_plugin.devices("a"))) as own:
        own.register()
        fake_kubelet.wait_for(lambda: fake_kubelet.allocatable.get("example.com/x") == 1)
        assert fake_kubelet.admit(pod.simple("p", {"example.com/x": 1})).phase == "Pending"
"""


@pytest.mark.parametrize("command", ["pytest", "python -m pytest"])
def test_a_project_with_a_package_plugin_of_its_own_is_tested(bin_dir: Path, tmp_path: Path, command: str) -> None:
    own_packages(tmp_path, "plugin")
    (tmp_path / "test_own.py").write_text("import plugin\ndef test_own(): assert plugin.OWN\n" + PLAIN)
    first, *rest = command.split()

    done = run([bin_dir / first, *rest, "-q", "-p", "no:cacheprovider"], tmp_path)

    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("implementation", ["upb", "python"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_own_stubs_are_loaded_before_and_after_the_fixture(
    bin_dir: Path, tmp_path: Path, when: str, implementation: str
) -> None:
    load = "import api_pb2, api_pb2_grpc\n"
    body = PLAIN + f"        {load.replace(chr(10), '; ')}assert api_pb2.Device(ID='a').ID == 'a'\n"
    (tmp_path / "test_stubs.py").write_text((load if when == "before" else "") + body)

    done = run(
        [bin_dir / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        tmp_path,
        PYTHONPATH=str(STUBS),
        PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=implementation,
    )

    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_a_plain_test_passes_without_pytest_asyncio(bin_dir: Path, tmp_path: Path) -> None:
    """Not installed at all: an importer stands in for its absence, and its entry point is blocked."""
    hide = "import sys\nsys.modules['pytest_asyncio'] = None\n"
    (tmp_path / "conftest.py").write_text(hide)
    (tmp_path / "test_plain.py").write_text(PLAIN)

    done = run(
        [bin_dir / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:anyio"],
        tmp_path,
    )

    assert "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("profile", PROFILES)
def test_a_fleet_of_every_profile_comes_up_in_lines(bin_dir: Path, tmp_path: Path, profile: str) -> None:
    done = run([bin_dir / "fakehw-fleet", "up", profile, "--plain", "--for", "1s"], tmp_path)

    *_, last = [line for line in done.stdout.splitlines() if "nodes" in line]
    ready, _, nodes = last.split("nodes ")[1].split(",")[0].partition("/")
    assert ready == nodes, done.stdout + done.stderr
    assert "ready after" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("profile", PROFILES)
def test_a_fleet_of_every_profile_fits_a_terminal_of_eighty_columns(
    bin_dir: Path, tmp_path: Path, profile: str
) -> None:
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "FAKEHW"))}
    for name in ("COLUMNS", "LINES"):
        kept.pop(name, None)
    command = [bin_dir / "fakehw-fleet", "up", profile]
    process = subprocess.Popen(command, cwd=tmp_path, env=kept, stdout=terminal, stderr=subprocess.PIPE)
    os.close(terminal)
    raw = b""
    try:
        deadline = time.monotonic() + 60
        while not re.search(r"(\d+) of \1 nodes ready", text := "\n".join(screen.display)):
            assert time.monotonic() < deadline, text
            raw += (chunk := os.read(main, 65536))
            stream.feed(chunk)
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        os.close(main)

    assert process.returncode == 0, err
    assert text.startswith(f"fakehw-fleet {profile}: ")
    assert "RESOURCE" in text
    assert "CAPACITY" in text
    plain = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", raw).decode()
    assert max(len(line.rstrip("\r")) for line in plain.split("\n")) <= COLUMNS
