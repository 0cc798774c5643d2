"""What the parsers of all commands share: one line for whatever is wrong, flags with a variable, common arguments."""

from __future__ import annotations

import argparse
from importlib import metadata
from pathlib import Path

import pytest

from fakehw import output, parser
from fakehw.errors import InputError

RUN = len  # any function


@pytest.fixture(autouse=True)
def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_name", "tool")


def whole() -> parser.Parser:
    """A command line with two commands below it."""
    made = parser.make_parser("tool", description="What it is for.", examples="  tool break it")
    commands = parser.add_commands(made)
    command = parser.add_command(commands, "break", "break a thing", run=RUN, examples="  tool break it --hard")
    command.add_argument("thing")
    command.add_argument("--hard", action="store_true", help="with all force")
    command.add_argument("--hardness", choices=["low", "high"])
    command.add_argument("-n", "--times", type=parser.whole_number(1, 9))
    parser.add_command(commands, "mend", "mend a thing", run=RUN, examples="  tool mend it")
    return made


def refused(capsys: pytest.CaptureFixture[str], made: parser.Parser, *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        made.parse_args(words)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "tool: the following arguments are required: COMMAND\n"),
        (["brake"], "tool: 'brake': must be one of break, mend: did you mean break? (COMMAND)\n"),
        (["it's"], """tool: "it's": must be one of break, mend (COMMAND)\n"""),
        (["a\nb"], "tool: 'a\\nb': must be one of break, mend (COMMAND)\n"),
        (["xyz"], "tool: 'xyz': must be one of break, mend (COMMAND)\n"),
        (["break"], "tool: the following arguments are required: thing\n"),
        (["break", "it", "--hadr"], "tool: '--hadr': is not an argument of tool break: did you mean --hard?\n"),
        (["break", "it", "--hadr=1"], "tool: '--hadr=1': is not an argument of tool break: did you mean --hard?\n"),
        (["break", "it", "--xyz"], "tool: '--xyz': is not an argument of tool break\n"),
        (["break", "it", "--har"], "tool: '--har': is not an argument of tool break: did you mean --hard?\n"),
        (["break", "it", "that", "this"], "tool: 'that': is not an argument of tool break\n"),
        (["break", "it", "--hardness", "hihg"], "tool: 'hihg': must be one of low, high: did you mean high? (--hardness)\n"),
        (["break", "it", "--hardness", "it's"], """tool: "it's": must be one of low, high (--hardness)\n"""),
        (["break", "it", "--times", "10"], "tool: '10': must be a whole number from 1 to 9 (-n/--times)\n"),
        (["break", "it", "--times"], "tool: expected one argument (-n/--times)\n"),
        (["break", "it", "--times", "a\nb"], "tool: 'a\\nb': must be a whole number from 1 to 9 (-n/--times)\n"),
    ],
)  # fmt: skip  # a command line a row
def test_whatever_is_wrong_is_one_line_with_value_rule_and_flag(
    capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    assert refused(capsys, whole(), *words) == line


def test_a_command_line_that_is_right_says_which_command_runs() -> None:
    given = whole().parse_args(["break", "it", "--hard", "-n", "3", "--hardness", "low"])

    assert vars(given) == {"run": RUN, "thing": "it", "hard": True, "hardness": "low", "times": 3}


def test_what_is_known_may_be_asked_for_without_an_end() -> None:
    assert whole().parse_known_args(["mend"]) == (argparse.Namespace(run=RUN), [])


def test_help_has_the_description_the_commands_and_the_examples_as_they_were_written() -> None:
    made = whole()
    text = made.format_help()

    assert made.prog == "tool"
    assert "\nWhat it is for.\n" in text
    assert "\ncommands:\n  COMMAND\n    break     break a thing\n    mend      mend a thing\n" in text
    assert text.endswith("\nexamples:\n  tool break it\n")


def test_help_of_a_command_begins_with_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        whole().parse_args(["break", "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "\nBreak a thing.\n" in text
    assert "--hardness {low,high}" in text
    assert text.endswith("\nexamples:\n  tool break it --hard\n")


def test_commands_may_be_left_out_where_the_one_above_says_what_is_missing() -> None:
    made = parser.make_parser("tool", description="", examples="")
    commands = parser.add_commands(made, required=False)
    below = parser.add_command(commands, "x", "x", run=RUN, examples="")

    assert vars(made.parse_args([])) == {}
    assert isinstance(below, parser.Parser), "whose errors are ours too"


def test_what_was_added_is_remembered_with_what_a_shell_may_offer() -> None:
    made = parser.make_parser("tool", description="", examples="")
    offer = parser.Offer(lambda: ["a"])
    first = made.add_argument("--file", offer=offer)
    second = made.add_argument("place")
    below = parser.add_commands(made)

    assert made.added[1:] == [first, second, below]
    assert made.added[0].option_strings == ["-h", "--help"]
    assert made.offers == {first: offer}
    assert (list(offer.words()), offer.has_files, offer.has_devices) == (["a"], True, False)


def test_a_flag_is_what_nothing_follows() -> None:
    made = parser.make_parser("tool", description="", examples="")

    assert parser.is_flag(made.added[0])
    assert parser.is_flag(made.add_argument("--hard", action="store_true"))
    assert not parser.is_flag(made.add_argument("--file"))
    assert not parser.is_flag(made.add_argument("place"))
    assert not parser.is_flag(parser.add_commands(made))


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    made = parser.make_parser("tool", description="", examples="")
    made.add_argument("--version", action=parser.Version, nargs=0)

    with pytest.raises(SystemExit) as ended:
        made.parse_args(["--version"])
    assert not ended.value.code
    assert capsys.readouterr().out == f"tool {metadata.version('fakehw')}\n"


def test_a_variable_that_is_not_set_or_empty_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOOL_X", raising=False)
    assert parser.FromEnvironment.named("TOOL_X") is None
    monkeypatch.setenv("TOOL_X", "")
    assert parser.FromEnvironment.named("TOOL_X") is None
    monkeypatch.setenv("TOOL_X", "v")
    value = parser.FromEnvironment.named("TOOL_X")
    assert value == "v"
    assert value is not None
    assert value.variable == "TOOL_X"
    assert parser.origin(value, "--x") == "TOOL_X"
    assert parser.origin("v", "--x") == "--x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", 1.0), ("1.5", 1.5), ("1e1", 10.0), ("0.5", 0.5), ("10", 10.0)]
    + [(text, None) for text in ("0.49", "10.01", "x", "", "nan", "inf")],
)
def test_a_number_is_in_its_range(text: str, expected: float | None) -> None:
    convert = parser.number(0.5, 10)
    if expected is not None:
        assert convert(text) == expected
        return
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        convert(text)
    assert str(caught.value) == f"{text!r}: must be a number from 0.5 to 10"


def test_a_long_bound_is_said_in_full() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"from 0 to 123456789012$"):
        parser.number(0, 123456789012)("x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2", 2), ("90", 90), ("007", 7)]
    + [(text, None) for text in ("1", "91", "-2", "+2", "2.0", "", "x", "²", "٣", "1" * 5000, "3\n")],
)
def test_a_whole_number_is_digits_in_its_range(text: str, expected: int | None) -> None:
    convert = parser.whole_number(2, 90)
    if expected is not None:
        assert convert(text) == expected
        return
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        convert(text)
    assert str(caught.value) == f"{text!r}: must be a whole number from 2 to 90"


def test_a_word_is_one_of_those_that_are_known() -> None:
    convert = parser.one_of(iter(["low", "high"]))
    assert [convert("low"), convert("high")] == ["low", "high"]
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        convert("lo")
    assert str(caught.value) == "'lo': must be one of low, high: did you mean low?"
    assert parser.one_of([1])("1") == "1"


@pytest.mark.parametrize(
    ("word", "expected"),
    [("hihg", ": did you mean high?"), ("low", ": did you mean low?"), ("xyz", ""), ("", ""), ("abcxx", ": did you mean abcde?"), ("abxxx", "")],
)  # fmt: skip  # one list
def test_what_may_have_been_meant_is_asked_where_more_than_half_is_right(word: str, expected: str) -> None:
    assert parser.did_you_mean(word, iter(["low", "high", "abcde"])) == expected


# Flags that a variable stands in for.


def flagged(monkeypatch: pytest.MonkeyPatch, value: str | None, **more: object) -> parser.Parser:
    if value is None:
        monkeypatch.delenv("TOOL_X", raising=False)
    else:
        monkeypatch.setenv("TOOL_X", value)
    made = parser.make_parser("tool", description="", examples="")
    parser.add_flag(made, "-x", "--ex", env="TOOL_X", **more)  # type: ignore[arg-type]
    return made


def test_a_flag_that_nobody_gave_has_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert flagged(monkeypatch, None).parse_args([]).ex is None
    assert flagged(monkeypatch, None, default="d").parse_args([]).ex == "d"
    assert flagged(monkeypatch, "", default="d").parse_args([]).ex == "d"
    assert flagged(monkeypatch, None, default=7, type=int).parse_args([]).ex == 7


def test_a_flag_is_what_was_given_first_on_the_command_line_then_by_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert flagged(monkeypatch, "12", default=7, type=int).parse_args([]).ex == 12
    assert flagged(monkeypatch, "12", default=7, type=int).parse_args(["--ex", "13"]).ex == 13
    assert flagged(monkeypatch, "12").parse_args(["-x", "13"]).ex == "13"
    assert parser.origin(flagged(monkeypatch, "12").parse_args([]).ex, "--ex") == "TOOL_X"


def test_a_flag_that_is_required_may_be_given_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert flagged(monkeypatch, "v", required=True).parse_args([]).ex == "v"
    assert refused(capsys, flagged(monkeypatch, None, required=True)) == (
        "tool: the following arguments are required: -x/--ex\n"
    )
    assert flagged(monkeypatch, None, required=False).parse_args([]).ex is None


def test_what_is_wrong_is_said_of_the_flag_or_of_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limited = parser.whole_number(1, 3)
    assert refused(capsys, flagged(monkeypatch, "9", type=limited), "--ex", "8") == (
        "tool: '8': must be a whole number from 1 to 3 (-x/--ex)\n"
    )
    with pytest.raises(InputError) as caught:
        flagged(monkeypatch, "9", type=limited).parse_args([])
    assert caught.value.lines == ("'9': must be a whole number from 1 to 3 (TOOL_X)",)


def common(*arguments: str) -> argparse.Namespace:
    made = parser.make_parser("tool", description="", examples="")
    parser.add_root(made)
    parser.add_domain(made)
    parser.add_api(made)
    return made.parse_args(arguments)


VARIABLES = {"root": "FAKEHW_ROOT", "domain": "FAKEHW_DOMAIN", "api": "FAKEHW_API"}


@pytest.fixture
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.usefixtures("_no_variables")
def test_the_tree_the_domain_and_the_api_are_those_of_the_plugin_unless_somebody_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert vars(common()) == {"root": Path("/fakehw"), "domain": "myplugin.io", "api": "device-plugin"}
    given = ["--root", "/t", "--domain", "a.io", "--api", "dra"]
    assert vars(common(*given)) == {"root": Path("/t"), "domain": "a.io", "api": "dra"}
    for name, value in zip(VARIABLES, given[1::2], strict=True):
        monkeypatch.setenv(VARIABLES[name], value)
    assert vars(common()) == {"root": Path("/t"), "domain": "a.io", "api": "dra"}


@pytest.mark.usefixtures("_no_variables")
@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("root", "", "'': must be a directory"),
        ("root", "a\0b", r"'a\x00b': must be a directory"),
        ("domain", "A", "'A': the domain must be lower-case letters, digits and '-' in parts joined by '.'"),
        ("api", "DRA", "'DRA': must be device-plugin or dra"),
    ],
)
def test_a_tree_a_domain_or_an_api_that_is_none_is_refused(
    name: str, value: str, rule: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit):
        common(f"--{name}", value)
    assert capsys.readouterr().err == f"tool: {rule} (--{name})\n"
    if value and "\0" not in value:
        monkeypatch.setenv(VARIABLES[name], value)
        with pytest.raises(InputError) as caught:
            common()
        assert caught.value.lines == (f"{rule} ({VARIABLES[name]})",)


@pytest.mark.usefixtures("_no_variables")
def test_help_says_the_variables_and_the_defaults() -> None:
    made = parser.make_parser("tool", description="", examples="")
    parser.add_root(made)
    parser.add_domain(made)
    parser.add_api(made)

    assert [(action.option_strings, action.metavar, action.help) for action in made.added[1:]] == [
        (["--root"], "DIR", "the tree (env FAKEHW_ROOT; default /fakehw)"),
        (["--domain"], "NAME", "domain of mydevice-K where devK has no resource, as the plugin's own flag says it "
         "(env FAKEHW_DOMAIN; default myplugin.io)"),
        (["--api"], "NAME", "device-plugin or dra: what serves classes without a file `api`, as the plugin's own flag says it "
         "(env FAKEHW_API; default device-plugin)"),
    ]  # fmt: skip  # a flag a row


def test_several_kubelets_may_be_asked() -> None:
    made = parser.make_parser("tool", description="", examples="")
    parser.add_pod_resources(made, "asked for a reason")
    assert made.parse_args([]).pod_resources == []
    assert made.parse_args(["--pod-resources", "/a", "--pod-resources", "b"]).pod_resources == [Path("/a"), Path("b")]
    assert made.parse_args([]).pod_resources == [], "each command line by itself"
    (action,) = made.added[1:]
    assert (action.option_strings, action.metavar) == (["--pod-resources"], "SOCKET")
    assert action.help == "a kubelet's PodResources socket, asked for a reason; may be given for several kubelets"


def test_a_host_and_a_duration_are_taken_by_their_rules() -> None:
    assert parser.host("kind-worker2") == "kind-worker2"
    assert parser.duration("1m30s") == 90.0
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        parser.host("A")
    assert str(caught.value) == (
        "'A': must be the name of a Kubernetes node: lower-case letters, digits and '-', in parts joined by '.'"
    )
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        parser.duration("x")
    assert str(caught.value) == (
        "'x': must be a duration such as 500ms, 3s or 1m30s, or a number of seconds, at most 7 days"
    )
