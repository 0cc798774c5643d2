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
from typing import TYPE_CHECKING, Any

from fakekubelet.apiserver import slice_rules
from fakekubelet.conformance import (
    catalogue,
    contract_text,
    endings,
    private_mount,
    procedure,
    report,
    subject,
)
from fakekubelet.conformance.command_line import (
    SHELLS,
    Completion,
    Parser,
    UsageError,
    Version,
    did_you_mean,
    duration,
    one_of,
)
from fakekubelet.conformance.dra import catalogue as dra_catalogue
from fakekubelet.conformance.dra import settings as dra_settings
from fakekubelet.conformance.settings import Limits, Settings
from fakekubelet.kubelet import registration, resource_name
from fakekubelet.kubelet.mode import Mode
from kubeletapi.deviceplugin.v1beta1 import constants
from kubeletapi.dra import constants as dra_constants

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fakekubelet.conformance.dra.evidence import Evidence as DraEvidence
    from fakekubelet.conformance.evidence import Evidence

DESCRIPTION = (
    "Find out which facts of the kubelet's contract a device plugin or a DRA driver keeps (docs/conformance.md)."
)
EPILOG = """\
examples:
  fakehw-conformance -- my-plugin --plugin-dir {plugin_dir}
  fakehw-conformance --break 'echo unhealthy > tree/node1/dev1/1/health' \\
                     --mend 'echo healthy > tree/node1/dev1/1/health' \\
                     -- fakehw-plugin --root tree --plugin-dir {plugin_dir} --pod-resources {pod_resources}
  fakehw-conformance --private-mount -- a-plugin-that-insists-on-var-lib-kubelet
  fakehw-conformance --api dra --driver gpu.example.com -- my-dra-driver     with KUBECONFIG, NODE_NAME, ... (below)
  fakehw-conformance --explain LW-13                  what a fact says
  fakehw-conformance --plugin-dir DIR                 the plugin runs already, on DIR, with no kubelet there

{plugin_dir} {pod_resources} {plugins_registry} in the command, in capitals in its environment: where the kubelet is.
With --api dra: {kubeconfig} {node_name} {plugins_dir} {registry_dir} {cdi_dir} {pod_uid}, and the same in capitals.
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
_DRA_LIMITS = {
    "start": "from the process's start to its registration",
    "info": "for GetInfo",
    "publish": "from the registration to slices",
    "change": "from a device's change to slices and a health message that say so",
    "reply": "for NodePrepareResources and NodeUnprepareResources",
    "recovery": "until it is registered again after a disturbance",
    "republish": "until slices that were deleted are there again",
    "stop": "from SIGTERM to the end",
    "quiet": "how long to look on without doing anything",
}


_STDOUT = Path("-")
APIS = ("device-plugin", "dra")


def parser() -> Parser:
    """Return the parser of the command line."""
    made = Parser(
        prog="fakehw-conformance",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = made.add_argument
    add("command", nargs="*", metavar="COMMAND", help="the plugin and its arguments, after --")
    add("--api", choices=APIS, type=one_of(APIS), default=APIS[0], help="what is tested (default device-plugin)")
    add(
        "--driver",
        default="",
        metavar="NAME",
        help="the DRA driver's name; its directory is made (default: who registers)",
    )
    add("--plugin-dir", type=Path, metavar="DIR", help="where the kubelet is to be (default: a new directory)")
    add(
        "--private-mount",
        action="store_true",
        help=f"put the kubelet at {constants.DEVICE_PLUGIN_PATH}, seen by the kit and the plugin alone (unshare)",
    )
    add("--resources", default="", metavar="NAME,...", help="what the plugin is to register (default: what it does)")
    add("--break", dest="break_", metavar="CMD", help="shell command that makes a device unhealthy")
    add("--mend", metavar="CMD", help="shell command that makes it healthy again")
    add("--unplug", metavar="CMD", help="dra: shell command that takes a device away")
    add("--plug", metavar="CMD", help="dra: shell command that puts it back")
    add(
        "--kubelet",
        choices=[str(mode) for mode in Mode],
        type=one_of(map(str, Mode)),
        default="1.36",
        help="which one (default %(default)s)",
    )
    add("--brief", action="store_true", help="restart nothing: some seconds instead of a minute, fewer checks judged")
    for name in dict.fromkeys((*_LIMITS, *_DRA_LIMITS)):
        add(
            f"--{name}-limit" if name not in ("absent", "quiet") else f"--{name}",
            dest=f"limit_{name}",
            type=duration,
            metavar="DURATION",
            help=_limit_help(name),
        )
    add(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the findings as JSON too; - is standard output, without the table",
    )
    add("--junit", type=Path, metavar="FILE", help="write the findings as JUnit XML too")
    add("--list", action="store_true", help="print the checks as Markdown and exit")
    add("--explain", metavar="FACT", help="print a fact of the contract, or those of a check, and exit")
    add("--no-progress", action="store_true", help="do not say on standard error what is being done")
    add(
        "--completion",
        metavar="SHELL",
        action=Completion,
        type=one_of(SHELLS),
        help="print the completion script of a shell (bash, zsh, fish, powershell, tcsh) and exit",
    )
    add("--version", action=Version, nargs=0, help="print the version and exit")
    return made  # fmt: skip  # one option a line where it fits


def _limit_help(name: str) -> str:
    parts = []
    for texts, limits, only in ((_LIMITS, Limits(), ""), (_DRA_LIMITS, dra_settings.Limits(), "dra: ")):
        if name in texts:
            parts.append(f"{only}{texts[name]} (default {getattr(limits, f'{name}_s'):g}s)")
    return "; ".join(parts)


def _limits(given: argparse.Namespace, names: Mapping[str, str]) -> dict[str, float]:
    """Return the limits that were given; UsageError for one that the API does not have."""
    wanted = {
        name: value
        for name in dict.fromkeys((*_LIMITS, *_DRA_LIMITS))
        if (value := getattr(given, f"limit_{name}")) is not None
    }
    foreign = sorted(wanted.keys() - names.keys())
    if foreign:
        option = f"--{foreign[0]}" if foreign[0] == "absent" else f"--{foreign[0]}-limit"
        raise UsageError(f"{option} is not for --api {given.api}")
    return {f"{name}_s": value for name, value in wanted.items()}


def _common(given: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of CommonSettings."""
    return {
        "command": tuple(given.command),
        "break_command": given.break_,
        "mend_command": given.mend,
        "is_brief": given.brief,
        "mode": given.kubelet,
    }


def _settings(given: argparse.Namespace, plugin_dir: Path) -> Settings:
    limits = dataclasses.replace(Limits(), **_limits(given, _LIMITS))
    resources = tuple(name for name in given.resources.split(",") if name)
    for name in resources:
        if not resource_name.is_extended(name):
            raise UsageError(f"{name!r}: must be an extended resource name, contract REG-10 (--resources)")
    return Settings(**_common(given), plugin_dir=plugin_dir, resources=resources, limits=limits)


def _driver_settings(given: argparse.Namespace, root: Path) -> dra_settings.Settings:
    for option, value in (("--resources", given.resources), ("--plugin-dir", given.plugin_dir)):
        if value:
            raise UsageError(f"{option} is not for --api dra")
    if not given.command:
        raise UsageError("give a COMMAND after --: a driver that runs already has another API server")
    if given.driver and any(slice_rules.driver_name(given.driver, "")):
        raise UsageError(f"{given.driver!r}: must be the name of a driver, contract DRA-2 (--driver)")
    runtime = Path(dra_constants.CDI_DIR)
    return dra_settings.Settings(
        **_common(given),
        root=root,
        cdi_dir=runtime if given.private_mount and runtime.is_dir() else root / "cdi",
        driver=given.driver,
        unplug_command=given.unplug,
        plug_command=given.plug,
        limits=dataclasses.replace(dra_settings.Limits(), **_limits(given, _DRA_LIMITS)),
    )


def _explained(wanted: str) -> str:
    """Return the text of a fact, or of those of a check; UsageError for neither."""
    known = contract_text.facts()
    checks = [
        check for groups in (catalogue.GROUPS, dra_catalogue.GROUPS) for kind in groups.values() for check in kind
    ]
    named = [check for check in checks if check.name == wanted]
    numbers = [number for check in named for number in check.facts] or [wanted.upper()]
    missing = [number for number in numbers if number not in known]
    if missing:
        suggestion = did_you_mean(missing[0], [*known, *(check.name for check in checks)]) or ": see --list"
        raise UsageError(f"{wanted!r}: must be a fact of the contract or a check{suggestion} (--explain)")
    claims = [f"{check.name}: {check.claim}" for check in named]
    return "\n\n".join([*claims, *(known[number] for number in dict.fromkeys(numbers))])


def _check_directory(directory: Path) -> None:
    """Refuse to stand in for a kubelet where there is one."""
    if registration.is_listening(directory / constants.KUBELET_SOCKET):
        raise UsageError(f"{directory}: a kubelet listens there; give another directory")
    if (directory / "kubelet_internal_checkpoint").exists():
        raise UsageError(f"{directory}: a kubelet's checkpoint is there; give another directory")


def _check_reports(given: argparse.Namespace) -> None:
    """Refuse a report that could not be written, before a minute is spent on what is to be in it."""
    paths = {
        option: getattr(given, option) for option in ("json", "junit") if getattr(given, option) not in (None, _STDOUT)
    }
    for option, path in paths.items():
        if path.is_dir():
            raise UsageError(f"{str(path)!r}: is a directory: must be a file to write (--{option})")
        if not path.parent.is_dir():
            raise UsageError(f"{str(path)!r}: there is no directory {path.parent} (--{option})")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise UsageError(f"{str(path)!r}: cannot be written (--{option})")
        is_lost = given.private_mount and not private_mount.is_inside()
        if is_lost and path.absolute().is_relative_to(private_mount.covered()):
            rule = f"would be lost: --private-mount covers {private_mount.covered()}"
            raise UsageError(f"{str(path)!r}: {rule} (--{option})")
    if len(paths) == 2 and given.json.absolute() == given.junit.absolute() and not given.json.is_char_device():
        raise UsageError(f"{str(given.json)!r}: both would be written there (--json, --junit)")


def run(settings: Settings | dra_settings.Settings, progress: Callable[[str], None]) -> Evidence | DraEvidence:
    """Go through the procedure; UsageError if a command cannot be run or the directory not be used."""
    try:
        if isinstance(settings, dra_settings.Settings):
            return endings.run(_run_driver(settings, progress))
        _check_directory(settings.plugin_dir)
        return endings.run(procedure.run(settings, progress))
    except OSError as error:
        raise UsageError(f"{error.filename!r}: {error.strerror}" if error.filename else str(error)) from error
    except subject.HookError as error:
        raise UsageError(str(error)) from error


def _require_streams() -> None:
    """Refuse to run for nobody; and let nothing that is opened take the place of a stream that a shell closed."""
    if sys.stdout is None:
        raise UsageError("standard output is closed")
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one


def _say_on_stderr(what: str) -> None:
    if sys.stderr is None:
        return
    try:
        print(f"fakehw-conformance: {what}", file=sys.stderr, flush=True)  # noqa: T201 - to who waits
    except OSError:  # nobody takes it: what is told to people decides over nothing, nor once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stderr.fileno())


async def _run_driver(settings: dra_settings.Settings, progress: Callable[[str], None]) -> DraEvidence:
    try:
        from fakekubelet.conformance.dra import procedure as dra_procedure  # needs the extra
    except ModuleNotFoundError as error:
        text = f"--api dra needs the extra apiserver (pip install 'fakehw[apiserver]'): {error}"
        raise UsageError(text) from error
    return await dra_procedure.run(settings, progress)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code, 128 and more for a signal."""
    try:
        with endings.heeded():
            return _main(arguments)
    except endings.EndedError as error:
        _say_on_stderr(f"{error}; nothing was judged")
        return error.exit_code


def _main(arguments: Sequence[str] | None) -> int:
    gc.freeze()  # what is loaded stays to the end, and need not be looked through for garbage when it comes
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its words about sockets that went away as they should
    words = list(sys.argv[1:] if arguments is None else arguments)
    temporary: str | None = None
    try:
        _require_streams()
        known = parser()
        given, unknown = known.parse_known_args(words)
        if unknown:
            options = [name for action in known.added for name in action.option_strings if name.startswith("--")]
            suggestion = did_you_mean(unknown[0].partition("=")[0], options)
            if given.command and not suggestion:
                suggestion = f": is it the plugin's own? Then put -- before its command: -- {given.command[0]} ..."
            raise UsageError(f"{unknown[0]!r}: is not an option of fakehw-conformance{suggestion}")
        is_dra = given.api == "dra"
        if given.explain is not None:
            print(_explained(given.explain))  # noqa: T201 - what the option is for
            return 0
        groups = dra_catalogue.GROUPS if is_dra else catalogue.GROUPS
        if given.list:
            print(catalogue.markdown(groups, who="driver" if is_dra else "plugin"))  # noqa: T201 - likewise
            return 0
        if not given.command and given.plugin_dir is None:
            raise UsageError("give a COMMAND after --, or --plugin-dir for a plugin that runs already")
        for undo, do in (("mend", "break"), ("plug", "unplug")):
            if getattr(given, undo) and not getattr(given, "break_" if do == "break" else do):
                raise UsageError(f"--{undo} needs --{do}")
        if given.unplug and not is_dra:
            raise UsageError("--unplug is for --api dra")
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
        plugin_dir = plugin_dir.absolute()
        settings = _driver_settings(given, plugin_dir.parent) if is_dra else _settings(given, plugin_dir)
        seen = run(settings, (lambda _: None) if given.no_progress else _say_on_stderr)
        findings = catalogue.judge(seen, groups)
        if given.json != _STDOUT:
            width = shutil.get_terminal_size((120, 24)).columns
            print(report.table(findings, width=width, color=sys.stdout.isatty()))  # noqa: T201 - the report
        for path, text in ((given.json, report.as_json(findings, seen)), (given.junit, report.as_junit(findings))):
            if path == _STDOUT:
                sys.stdout.write(text)
            elif path is not None:
                path.write_text(text)
    except (UsageError, private_mount.MountError, OSError) as error:
        _say_on_stderr(str(error))
        return 2
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return 1 if report.counts(findings)["broken"] else 0
