"""What a completion script is made of: which words, files and devices stand where, in the language of each shell."""

from __future__ import annotations

import pytest

from fakehw import parser
from fakehw.commands import completion


def script(shell: str, *, prog: str = "fakehw") -> str:
    whole = parser.make_parser(prog, description="x", examples="x")
    below = parser.add_commands(whole)
    one = parser.add_command(below, "one", "do one", run=lambda _: None, examples="x")
    one.add_argument("--spec", metavar="FILE", offer=parser.Offer(lambda: ["gpu-server", "fpga"]), help="a spec")
    one.add_argument(
        "--kind", metavar="KIND", offer=parser.Offer(lambda: ["red", "blue"], has_files=False), help="a kind"
    )
    one.add_argument("--at", metavar="PLACE", offer=parser.Offer(lambda: ["all of", "none"], has_files=False, has_devices=True), help="a place")  # fmt: skip
    one.add_argument("--log", metavar="FILE", help="a file")
    one.add_argument("--root", metavar="DIR", help="a directory")
    one.add_argument("--times", metavar="TIMES", help="a number")
    two = parser.add_command(below, "two", "do two", run=lambda _: None, examples="x")
    two.add_argument("paths", metavar="PATH", nargs="+", help="places")
    return completion.script(whole, shell)


@pytest.mark.parametrize(
    ("shell", "devices"),
    [
        ("bash", "fakehw list -o name 2>/dev/null"),
        ("zsh", "fakehw list -o name 2>/dev/null"),
        ("fish", "fakehw list -o name 2>/dev/null"),
        ("powershell", "fakehw list -o name"),
        ("tcsh", "fakehw list -o name"),
    ],
)
def test_devices_are_asked_for_without_a_complaint_into_the_line(shell: str, devices: str) -> None:
    made = script(shell)
    assert devices in made
    assert f"{devices} 2>" not in made
    assert "kubectl-fakehw list -o name" in script(shell, prog="kubectl-fakehw")
    assert "fakehw list -o name" in script(shell, prog="another"), "whatever it is called"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell", "tcsh"])
def test_words_that_are_all_there_is_are_offered_as_choices_and_others_beside_devices(shell: str) -> None:
    made = script(shell)
    assert "red" in made
    assert "blue" in made
    assert "echo 'all of'; echo none" in made or "echo '\\''all of'\\''; echo none" in made or "echo ''all of''; echo none" in made  # fmt: skip


@pytest.mark.parametrize(
    ("shell", "lines"),
    [
        ("bash", ["() {", '  compgen -W "gpu-server fpga" -- "$1"', '  compgen -f -- "$1"', "}"]),
        ("zsh", ["() {", "  _alternative 'names:name:(gpu-server fpga)' 'files:file:_files'", "}"]),
        ("fish", ["", "  string split ' ' -- \"gpu-server fpga\"", "  __fish_complete_path (commandline -ct)", "end"]),
        ("powershell", [" {", "  param([string]$WordToComplete)", "  @('gpu-server', 'fpga') | Where-Object { $_ -like \"$WordToComplete*\" }", "  _shtab_powershell_compgen_files $WordToComplete", "}"]),
    ],
)  # fmt: skip  # one row a shell
def test_words_that_stand_beside_files_are_a_function_of_their_own(shell: str, lines: list[str]) -> None:
    made = script(shell).splitlines()
    (start,) = [number for number, line in enumerate(made) if "_fakehw_words_or_files_" in line and (line.endswith(lines[0]) or shell == "fish") and not line.startswith(("  ", "_shtab", "\t")) and ("function" in line or "() {" in line)]  # fmt: skip
    assert made[start + 1 : start + len(lines)] == lines[1:]
    name = next(word for word in made[start].replace("(", " ").split() if word.startswith("_fakehw_words"))
    assert len(name.rpartition("_")[2]) == 8
    assert sum(name in line for line in made) >= 2, "and it is used"


def test_what_stands_where_in_zsh_of_several_arguments_at_each() -> None:
    lines = [line.strip() for line in script("zsh").splitlines()]
    assert [line for line in lines if line.startswith(('"--', '"*')) and "[show " not in line] == [
        '"--spec[a spec]:FILE:_fakehw_words_or_files_c3426f6e"',
        '"--kind[a kind]:KIND:(red blue)"',
        "\"--at[a place]:PLACE:($(fakehw list -o name 2>/dev/null; echo 'all of'; echo none))\"",
        '"--log[a file]:FILE:_files"',
        '"--root[a directory]:DIR:_files -/"',
        '"--times[a number]:TIMES:"',
        '"*:places:($(fakehw list -o name 2>/dev/null))"',
    ]


def test_the_command_prints_the_script_of_its_own_parser(capsys: pytest.CaptureFixture[str]) -> None:
    from fakehw import cli

    assert cli.main(["completion", "bash"]) == 0
    assert capsys.readouterr().out == completion.script(cli.make_parser(), "bash") + "\n"
