"""The findings of the kit, for people and for machines."""

from __future__ import annotations

import json

from fakekubelet.conformance import catalogue, report, verdict
from fakekubelet.conformance.catalogue import Finding
from fakekubelet.conformance.settings import Settings
from tests.kit_evidence import X, Y, broken, kept, seen, unjudged


@verdict.check("REG-1", "REG-2")
def comes(_: object) -> verdict.Result:
    """Comes."""
    return kept("it came")


@verdict.check("LW-1", "LW-2")
def goes_away(_: object) -> verdict.Result:
    """Goes away."""
    return broken("it stays\nfor ever and ever, and nobody knows why it does that to us")


@verdict.check("LW-3")
def sings(_: object) -> verdict.Result:
    """Sings."""
    return unjudged("nobody listened")


GROUPS = {"at the door": (comes,), "inside": (goes_away, sings)}
FINDINGS = catalogue.judge(None, GROUPS)


def test_every_check_is_asked_in_order():
    asked = []

    def listening(check):
        def judge(seen):
            asked.append((check.name, seen))
            return kept("heard")

        return verdict.Check(check.name, check.facts, check.claim, judge)

    groups = {name: tuple(map(listening, checks)) for name, checks in GROUPS.items()}

    assert catalogue.judge("all of it", groups) == [
        Finding("at the door", groups["at the door"][0], kept("heard")),
        Finding("inside", groups["inside"][0], kept("heard")),
        Finding("inside", groups["inside"][1], kept("heard")),
    ]
    assert asked == [("comes", "all of it"), ("goes-away", "all of it"), ("sings", "all of it")]


def test_each_verdict_is_counted_even_if_it_was_not_given():
    assert report.counts(FINDINGS) == {"kept": 1, "broken": 1, "cannot be judged": 1}
    assert report.counts([]) == {"kept": 0, "broken": 0, "cannot be judged": 0}


def test_a_table_has_a_row_for_each_check_under_its_group():
    assert report.table(FINDINGS, width=200, color=False) == (
        "At the door\n"
        "  comes     kept   it came\n"
        "\n"
        "Inside\n"
        "  goes-away BROKEN it stays for ever and ever, and nobody knows why it does that to us (LW-1, LW-2)\n"
        "  sings     -      nobody listened\n"
        "\n"
        "1 kept, 1 broken, 1 cannot be judged"
    )


def test_evidence_is_wrapped_to_the_width_and_never_below_thirty_columns():
    wrapped = report.table(FINDINGS, width=60, color=False).splitlines()[4:7]
    narrow = report.table(FINDINGS, width=10, color=False).splitlines()[4:7]

    assert wrapped == [
        "  goes-away BROKEN it stays for ever and ever, and nobody",
        "                   knows why it does that to us (LW-1,",
        "                   LW-2)",
    ]
    assert [line[19:] for line in narrow] == [
        "it stays for ever and ever,",
        "and nobody knows why it does",
        "that to us (LW-1, LW-2)",
    ]


def test_colors_are_only_on_a_terminal_and_only_on_the_verdicts():
    plain = report.table(FINDINGS, width=200, color=False)
    colored = report.table(FINDINGS, width=200, color=True)

    assert "\x1b[32mkept  \x1b[0m it came" in colored
    assert "\x1b[31mBROKEN\x1b[0m it stays" in colored
    assert "\x1b[2m-     \x1b[0m nobody" in colored
    assert plain == colored.replace("\x1b[0m", "").replace("\x1b[32m", "").replace("\x1b[31m", "").replace(
        "\x1b[2m", ""
    )


def test_a_check_with_nothing_to_say_has_a_row_too():
    finding = Finding("inside", comes, kept(""))

    assert report.table([finding], width=80, color=False).splitlines()[1] == "  comes kept   "


def test_json_has_all_of_it():
    found = seen(X, Y, settings=Settings(command=("plugin", "--größe"), mode="1.34"))

    text = report.as_json(FINDINGS, found)

    assert json.loads(text) == {
        "command": ["plugin", "--größe"],
        "kubelet": "1.34",
        "resources": [X, Y],
        "counts": {"kept": 1, "broken": 1, "cannot be judged": 1},
        "checks": [
            {"name": "comes", "group": "at the door", "claim": "Comes", "contract": ["REG-1", "REG-2"], "verdict": "kept", "evidence": "it came"},
            {"name": "goes-away", "group": "inside", "claim": "Goes away", "contract": ["LW-1", "LW-2"], "verdict": "broken",
             "evidence": "it stays\nfor ever and ever, and nobody knows why it does that to us"},
            {"name": "sings", "group": "inside", "claim": "Sings", "contract": ["LW-3"], "verdict": "cannot be judged", "evidence": "nobody listened"},
        ],
    }  # fmt: skip  # a table
    assert text.startswith('{\n  "command": [\n    "plugin",\n    "--größe"\n  ],\n')
    assert text.endswith("\n  ]\n}\n")


def test_junit_has_failures_and_what_was_skipped():
    odd = Finding("inside", sings, kept("it \x00said\x1b[0m"))

    first, _, rest = report.as_junit([*FINDINGS, odd]).partition("\n")

    assert first.startswith("<?xml version='1.0' encoding=")
    assert rest == (
        '<testsuite name="fakehw-conformance" tests="4" failures="1" skipped="1" errors="0">\n'
        '  <testcase classname="at the door" name="comes">\n'
        "    <system-out>it came</system-out>\n"
        "  </testcase>\n"
        '  <testcase classname="inside" name="goes-away">\n'
        '    <failure message="it stays for ever and ever, and nobody knows why it does that to us">'
        "Goes away (LW-1, LW-2)</failure>\n"
        "  </testcase>\n"
        '  <testcase classname="inside" name="sings">\n'
        '    <skipped message="nobody listened" />\n'
        "  </testcase>\n"
        '  <testcase classname="inside" name="sings">\n'
        "    <system-out>it  said [0m</system-out>\n"
        "  </testcase>\n"
        "</testsuite>\n"
    )


def test_the_page_of_checks_has_a_table_for_each_group():
    assert catalogue.markdown(GROUPS, who="driver") == (
        "### At the door\n"
        "\n"
        "| Check | A driver that keeps it | Contract |\n"
        "| --- | --- | --- |\n"
        "| `comes` | Comes | REG-1, REG-2 |\n"
        "\n"
        "### Inside\n"
        "\n"
        "| Check | A driver that keeps it | Contract |\n"
        "| --- | --- | --- |\n"
        "| `goes-away` | Goes away | LW-1, LW-2 |\n"
        "| `sings` | Sings | LW-3 |\n"
    )
