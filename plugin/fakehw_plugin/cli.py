"""The command line of the plugin: flags with twins in the environment, and exit codes.

Exit codes: 0 after SIGTERM, SIGINT or SIGHUP, 2 for a bad configuration (one line on standard error), 1 for a bug.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import re
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TextIO

from fakehw_plugin import config, errors, logs, process
from fakehw_plugin.offer import Api
from kubeletapi.deviceplugin.v1beta1 import constants
from kubeletapi.dra import constants as dra

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EPILOG: Final = """\
examples:
  fakehw build --spec deploy/base/topology.yaml --root /tmp/tree
  fakehw-plugin --root /tmp/tree --host kind-worker2                   serve node2 of the seed's topology to the kubelet
  fakehw-plugin --root /tmp/tree --plugin-dir /tmp/plugins --pod-resources ''
  echo unhealthy over temperature > /tmp/tree/node2/dev3/2/health      and watch allocatable drop

A flag wins over its variable. SIGTERM or Ctrl-C ends the plugin and removes its sockets.
"""


class Flag(NamedTuple):
    """One setting: its flag, its variable, its default as text, how it is read, and what it means."""

    name: str
    env: str
    default: str
    parse: Callable[..., Any]
    metavar: str
    help: str
    words: tuple[str, ...] = ()
    """What a shell may complete it with."""


_BOOL: Final = ("true", "false")

FLAGS: Final = (
    Flag("--root", "FAKEHW_ROOT", "/fakehw", config.absolute_path, "DIR", "the tree of devices"),
    Flag(
        "--host-root", "FAKEHW_HOST_ROOT", "", config.absolute_path, "DIR",
        "the same tree as the container runtime sees it, the source of the mounts (default: as --root)",
    ),
    Flag(
        "--host", "NODE_NAME", "", config.node_name, "NAME",
        "serve the devices of this Kubernetes node; empty: all",
    ),
    Flag(
        "--plugin-dir", "FAKEHW_PLUGIN_DIR", constants.DEVICE_PLUGIN_PATH, config.directory_for_sockets, "DIR",
        "the kubelet's device-plugin directory, with kubelet.sock in it",
    ),
    Flag(
        "--pod-resources", "FAKEHW_POD_RESOURCES", constants.POD_RESOURCES_SOCKET, config.absolute_path, "SOCKET",
        "the kubelet's PodResources socket, asked who holds a device that was unplugged; empty: nobody is asked",
    ),
    Flag(
        "--domain", "FAKEHW_DOMAIN", "myplugin.io", config.domain, "NAME",
        "domain of mydevice-K where devK has no resource",
    ),
    Flag(
        "--api", "FAKEHW_API", "device-plugin", config.api, "NAME",
        "device-plugin or dra: what serves the classes that have no file api of their own", tuple(Api),
    ),
    Flag(
        "--kubeconfig", "FAKEHW_KUBECONFIG", "", config.text_of, "FILE",
        "for DRA: how the API server is reached (default: KUBECONFIG, ~/.kube/config or the pod's service account)",
    ),
    Flag(
        "--registry-dir", "FAKEHW_REGISTRY_DIR", dra.PLUGINS_REGISTRY, config.directory_for_sockets, "DIR",
        "for DRA: where the kubelet looks for drivers",
    ),
    Flag(
        "--state-dir", "FAKEHW_STATE_DIR", f"{dra.PLUGINS}/fakehw", config.absolute_path, "DIR",
        "for DRA: where prepared claims are remembered over restarts",
    ),
    Flag(
        "--cdi-dir", "FAKEHW_CDI_DIR", dra.CDI_DIR, config.absolute_path, "DIR",
        "for DRA: where the container runtime looks for CDI files",
    ),
    Flag(
        "--http", "FAKEHW_HTTP", "", config.address, "IP:PORT",
        "address of /metrics, /healthz and /readyz, such as :9115; empty: off",
    ),
    Flag(
        "--reconcile", "FAKEHW_RECONCILE", "60s", config.duration, "DURATION",
        "read the whole tree this often, in case an event was lost; 0: never",
    ),
    Flag(
        "--quiet", "FAKEHW_QUIET", "5ms", config.duration, "DURATION",
        "shortest time between two lists in a storm of changes",
    ),
    Flag(
        "--vanished-grace", "FAKEHW_VANISHED_GRACE", "30s", config.duration, "DURATION",
        "list an unplugged device as Unhealthy for this long if nobody can say who holds it",
    ),
    Flag(
        "--pre-start-check", "FAKEHW_PRE_START_CHECK", "false", config.boolean, "BOOL",
        "have the kubelet ask before each container start whether its devices are still healthy", _BOOL,
    ),
    Flag(
        "--rpc-faults", "FAKEHW_RPC_FAULTS", "false", config.boolean, "BOOL",
        "delay, fail, hang or drop calls as files in CLASS/rpc say (docs/tree.md), to test what is above a plugin",
        _BOOL,
    ),
    Flag(
        "--log-level", "FAKEHW_LOG_LEVEL", "info", config.one_of(logs.LEVELS), "LEVEL", ", ".join(logs.LEVELS),
        logs.LEVELS,
    ),
    Flag(
        "--device-metrics", "FAKEHW_DEVICE_METRICS", "false", config.boolean, "BOOL",
        "serve series for each device too: health, reason, attributes that are numbers (docs/metrics.md)", _BOOL,
    ),
    Flag(
        "--log-format", "FAKEHW_LOG_FORMAT", "auto", config.one_of(logs.FORMATS), "FORMAT",
        "auto (console on a terminal, else json), console or json", logs.FORMATS,
    ),
)  # fmt: skip  # one row a flag

_SHELLS: Final = ("bash", "zsh", "fish", "powershell", "tcsh")
_ARGUMENT_ERROR: Final = re.compile(r"argument ([^:]+): (.*)", re.DOTALL)
_MAY_BE_EMPTY: Final = ("--host", "--kubeconfig", "--http", "--pod-resources", "--host-root")


class _Parser(argparse.ArgumentParser):
    """Reports what it cannot parse in one line."""

    def print_help(self, file: Any = None) -> None:
        """Print the help; exit code 1 where nobody takes it."""
        if not _say(self.format_help(), file or sys.stdout):
            self.exit(1)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and say of what is not known what may have been meant."""
        given, unknown = self.parse_known_args(args, namespace)
        if unknown:
            near = difflib.get_close_matches(unknown[0].partition("=")[0], [flag.name for flag in FLAGS], n=1)
            suggestion = f": did you mean {near[0]}?" if near else f": see {self.prog} --help"
            raise errors.UsageError(f"{unknown[0]!r}: is not an argument of {self.prog}{suggestion}")
        return given

    def error(self, message: str) -> Any:  # NoReturn in effect
        argument = _ARGUMENT_ERROR.fullmatch(message)
        raise errors.UsageError(f"{argument[2]} ({argument[1]})" if argument else message)


class _Completion(argparse.Action):
    """Prints the script by which a shell completes the flags."""

    def __call__(self, parser: argparse.ArgumentParser, _: object, values: Any, __: object = None) -> None:
        import shtab

        kinds = {"DIR": shtab.DIRECTORY, "FILE": shtab.FILE, "SOCKET": shtab.FILE}
        whole = _Parser(prog=parser.prog, description=parser.description, allow_abbrev=False)
        for flag in FLAGS:
            action = whole.add_argument(flag.name, metavar=flag.metavar, help=flag.help, choices=flag.words or None)
            if flag.metavar in kinds:
                action.complete = kinds[flag.metavar]  # type: ignore[attr-defined]  # where shtab looks for it
        parser.exit(0 if _say(f"{shtab.complete(whole, shell=values)}\n", sys.stdout) else 1)


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: that reads files."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.exit(0 if _say(f"{parser.prog} {version()}\n", sys.stdout) else 1)


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Return argparse's formatter, which is asked for at each flag, without the shutil that it asks for a width."""
    try:
        columns = int(os.environ.get("COLUMNS") or 0) or os.get_terminal_size(1).columns or 80
    except (ValueError, OSError):
        columns = 80
    return argparse.RawDescriptionHelpFormatter(prog, width=columns - 2)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, whose defaults come from the environment."""
    parser = _Parser(
        prog="fakehw-plugin",
        description="A Kubernetes device plugin for a tree of fake devices.",
        epilog=EPILOG,
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    for flag in FLAGS:
        shown = f", default {flag.default}" if flag.default else ""
        parser.add_argument(flag.name, metavar=flag.metavar, help=f"{flag.help} [{flag.env}{shown}]".replace("%", "%%"))
    parser.add_argument(
        "--completion", metavar="SHELL", action=_Completion, type=_shell,
        help="print the completion script of a shell (bash, zsh, fish, powershell, tcsh) and exit",
    )  # fmt: skip  # one row a flag
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    return parser


def _shell(text: str) -> str:
    return config.one_of(_SHELLS)(text, flag="--completion")


def version() -> str:
    """Return the version of the distribution."""
    from importlib import metadata

    return metadata.version("fakehw")


def read(arguments: Sequence[str], environ: dict[str, str]) -> dict[str, Any]:
    """Return every setting by its flag's name, from flag, variable or default; ConfigError for the first bad one."""
    given = vars(parser().parse_args(arguments))
    settings: dict[str, Any] = {}
    for flag in FLAGS:
        key = flag.name[2:].replace("-", "_")
        text, origin = given[key], flag.name
        if text is None and flag.env in environ:
            text, origin = environ[flag.env], f"{flag.name}, from {flag.env}"
        if text is None:
            text = flag.default
        settings[key] = None if not text and flag.name in _MAY_BE_EMPTY[1:] else flag.parse(text, flag=origin)
    return settings


def configure(settings: dict[str, Any]) -> config.Config:
    """Return the configuration that `settings` describe."""
    return config.Config(
        root=settings["root"],
        host_root=settings["host_root"] or settings["root"],
        host=settings["host"],
        plugin_dir=settings["plugin_dir"],
        pod_resources=settings["pod_resources"],
        domain=settings["domain"],
        http=settings["http"],
        reconcile_s=settings["reconcile"],
        quiet_s=settings["quiet"],
        vanished_grace_s=settings["vanished_grace"],
        pre_start_check=settings["pre_start_check"],
        rpc_faults=settings["rpc_faults"],
        api=settings["api"],
        kubeconfig=settings["kubeconfig"] or "",
        registry_dir=settings["registry_dir"],
        state_dir=settings["state_dir"],
        cdi_dir=settings["cdi_dir"],
        device_metrics=settings["device_metrics"],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    process.occupy_standard_streams()
    try:
        settings = read(sys.argv[1:] if arguments is None else arguments, dict(os.environ))
        configuration = configure(settings)
    except errors.ConfigError as error:
        _say(f"fakehw-plugin: {error}\n", sys.stderr)
        return 2
    process.run(configuration, log_level=settings["log_level"], log_format=settings["log_format"])
    return 0


def _say(text: str, stream: TextIO | None) -> bool:
    """Write to a standard stream that may be closed or full; return whether it was taken."""
    if stream is None:
        return False
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError):
            stream.close()  # else the interpreter would try again at its end, and change our exit code
        return False
    return True
