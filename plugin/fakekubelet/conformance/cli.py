"""The command `fakehw-conformance`: exit code 0 if nothing is broken, 1 if something is, 2 for a wrong use."""

from __future__ import annotations

import argparse
import dataclasses
import gc
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from fakekubelet.conformance import catalogue, endings, private_mount, procedure, report, subject
from fakekubelet.conformance.settings import Limits, Settings
from fakekubelet.kubelet import registration, resource_name
from fakekubelet.kubelet.mode import Mode
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakekubelet.conformance.evidence import Evidence

DESCRIPTION = "Find out which facts of the kubelet's contract a device plugin keeps (docs/conformance.md)."
EPILOG = """\
examples:
  fakehw-conformance -- my-plugin --plugin-dir {plugin_dir}
  fakehw-conformance --break 'echo unhealthy > tree/node1/dev1/1/health' \\
                     --mend 'echo healthy > tree/node1/dev1/1/health' \\
                     -- fakehw-plugin --root tree --plugin-dir {plugin_dir} --pod-resources {pod_resources}
  fakehw-conformance --private-mount -- a-plugin-that-insists-on-var-lib-kubelet
  fakehw-conformance --plugin-dir DIR                 the plugin runs already, on DIR, with no kubelet there

{plugin_dir} and {pod_resources} in the command, PLUGIN_DIR and POD_RESOURCES in its environment: where the kubelet is.
Exit code: 0 nothing broken, 1 something broken, 2 wrong use, 128 and more: ended by a signal, the plugin with it.
"""
_LIMITS = {
    "start": "from the process's start to its first registration",
    "options": "for GetDevicePluginOptions",
    "list": "from registration to list, and from a device's change to a list that says so",
    "reply": "for Allocate and GetPreferredAllocation",
    "recovery": "until all is registered again after a disturbance",
    "stop": "from SIGTERM to the end",
    "absent": "how long the kubelet is away",
    "quiet": "how long to look on without doing anything",
}


class UsageError(Exception):
    """The command cannot do what it is asked to."""


class _Parser(argparse.ArgumentParser):
    """Reports what it cannot parse in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}: see {self.prog} --help")


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: that reads files."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib import metadata

        sys.stdout.write(f"{parser.prog} {metadata.version('fakehw')}\n")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = _Parser(
        prog="fakehw-conformance",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = made.add_argument
    add("command", nargs="*", metavar="COMMAND", help="the plugin and its arguments, after --")
    add("--plugin-dir", type=Path, metavar="DIR", help="where the kubelet is to be (default: a new directory)")
    add(
        "--private-mount",
        action="store_true",
        help=f"put the kubelet at {constants.DEVICE_PLUGIN_PATH}, seen by the kit and the plugin alone (unshare)",
    )
    add("--resources", default="", metavar="NAME,...", help="what the plugin is to register (default: what it does)")
    add("--break", dest="break_", metavar="CMD", help="shell command that makes a device unhealthy")
    add("--mend", metavar="CMD", help="shell command that makes it healthy again")
    add(
        "--kubelet",
        choices=[str(mode) for mode in Mode],
        default="1.36",
        help="which one (default %(default)s)",
    )
    add("--brief", action="store_true", help="restart nothing: some seconds instead of a minute, fewer checks judged")
    for name, text in _LIMITS.items():
        default = getattr(Limits(), f"{name}_s")
        add(
            f"--{name}-limit" if name not in ("absent", "quiet") else f"--{name}",
            dest=f"limit_{name}",
            type=_seconds,
            default=default,
            metavar="SECONDS",
            help=f"{text} (default {default:g})",
        )
    add("--json", type=Path, metavar="FILE", help="write the findings as JSON too")
    add("--junit", type=Path, metavar="FILE", help="write the findings as JUnit XML too")
    add("--list", action="store_true", help="print the checks as Markdown and exit")
    add("--version", action=_Version, nargs=0, help="print the version and exit")
    return made  # fmt: skip  # one option a line where it fits


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 86400:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number of seconds, more than 0 and less than a day")
    return value


def _settings(given: argparse.Namespace, plugin_dir: Path) -> Settings:
    limits = dataclasses.replace(Limits(), **{f"{name}_s": getattr(given, f"limit_{name}") for name in _LIMITS})
    resources = tuple(name for name in given.resources.split(",") if name)
    for name in resources:
        if not resource_name.is_extended(name):
            raise UsageError(f"--resources: {name!r} is not an extended resource name (contract REG-10)")
    return Settings(
        command=tuple(given.command),
        plugin_dir=plugin_dir,
        resources=resources,
        break_command=given.break_,
        mend_command=given.mend,
        is_brief=given.brief,
        mode=given.kubelet,
        limits=limits,
    )


def _check_directory(directory: Path) -> None:
    """Refuse to stand in for a kubelet where there is one."""
    if registration.is_listening(directory / constants.KUBELET_SOCKET):
        raise UsageError(f"{directory}: a kubelet listens there; give another directory")
    if (directory / "kubelet_internal_checkpoint").exists():
        raise UsageError(f"{directory}: a kubelet's checkpoint is there; give another directory")


def _check_reports(given: argparse.Namespace) -> None:
    """Refuse a report that could not be written, before a minute is spent on what is to be in it."""
    paths = {option: getattr(given, option) for option in ("json", "junit") if getattr(given, option) is not None}
    for option, path in paths.items():
        if path.is_dir():
            raise UsageError(f"--{option}: {path} is a directory")
        if not path.parent.is_dir():
            raise UsageError(f"--{option}: there is no directory {path.parent}")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise UsageError(f"--{option}: {path} cannot be written")
        is_lost = given.private_mount and not private_mount.is_inside()
        if is_lost and path.absolute().is_relative_to(private_mount.covered()):
            raise UsageError(f"--{option}: {path} would be lost: --private-mount covers {private_mount.covered()}")
    if len(paths) == 2 and given.json.absolute() == given.junit.absolute() and not given.json.is_char_device():
        raise UsageError(f"--json and --junit: both would be written to {given.json}")


def run(settings: Settings) -> Evidence:
    """Go through the procedure; UsageError if a command cannot be run or the directory not be used."""
    _check_directory(settings.plugin_dir)
    try:
        return endings.run(procedure.run(settings))
    except (OSError, subject.HookError) as error:
        raise UsageError(str(error)) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code, 128 and more for a signal."""
    try:
        with endings.heeded():
            return _main(arguments)
    except endings.EndedError as error:
        print(f"fakehw-conformance: {error}; nothing was judged", file=sys.stderr)  # noqa: T201 - to who waits for it
        return error.exit_code


def _main(arguments: Sequence[str] | None) -> int:
    gc.freeze()  # what is loaded stays to the end, and need not be looked through for garbage when it comes
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its words about sockets that went away as they should
    words = list(sys.argv[1:] if arguments is None else arguments)
    temporary: str | None = None
    try:
        given, unknown = parser().parse_known_args(words)
        if unknown and given.command:
            raise UsageError(
                f"{unknown[0]}: is it the plugin's own? Then put -- before its command: -- {given.command[0]} ..."
            )
        if unknown:
            raise UsageError(f"unrecognized arguments: {' '.join(unknown)}: see fakehw-conformance --help")
        if given.list:
            print(catalogue.markdown())  # noqa: T201 - what the option is for
            return 0
        if not given.command and given.plugin_dir is None:
            raise UsageError("give a COMMAND after --, or --plugin-dir for a plugin that runs already")
        if bool(given.mend) and not given.break_:
            raise UsageError("--mend needs --break")
        plugin_dir = given.plugin_dir
        _check_reports(given)
        if given.private_mount:
            if plugin_dir is not None or not given.command:
                raise UsageError("--private-mount needs a COMMAND and no --plugin-dir")
            if not private_mount.is_inside():
                return private_mount.run_inside(words)
            plugin_dir = Path(constants.DEVICE_PLUGIN_PATH)
        if plugin_dir is None:
            temporary = tempfile.mkdtemp(prefix="fhc-", dir="/tmp")  # short: contract PATH-4
            plugin_dir = Path(temporary) / "device-plugins"
        seen = run(_settings(given, plugin_dir.absolute()))
        findings = catalogue.judge(seen)
        print(report.table(findings, width=shutil.get_terminal_size((120, 24)).columns, color=sys.stdout.isatty()))  # noqa: T201
        for path, text in ((given.json, report.as_json(findings, seen)), (given.junit, report.as_junit(findings))):
            if path is not None:
                path.write_text(text)
    except (UsageError, private_mount.MountError, OSError) as error:
        print(f"fakehw-conformance: {error}", file=sys.stderr)  # noqa: T201 - to the person who called
        return 2
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return 1 if report.counts(findings)["broken"] else 0
