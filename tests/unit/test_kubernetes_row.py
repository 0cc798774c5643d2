"""hack/kubernetes_row.py: what it makes of a run, and where it writes it."""

from __future__ import annotations

import sys

import pytest

from hack import fidelity, kubernetes_row

RESULTS = """<testsuites><testsuite>
<testcase name="test_reg_1_a[real]"/>
<testcase name="test_hs_2_b[real]"><skipped type="pytest.xfail" message="holds 1.36 to"/></testcase>
<testcase name="test_pr_5_c[real]"><failure message="no"/></testcase>
<testcase name="test_facts"><skipped type="pytest.skip" message="later"/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a stand-in of pytest that ends with `code` and leaves files, and return what the row says of it."""

    def run(name="e2e", code=0, afresh=True, **files):
        written = "".join(
            f"pathlib.Path({str(tmp_path / part)!r} + '.xml').write_text({text!r});" for part, text in files.items()
        )
        (tmp_path / "played.py").write_text(f"import pathlib, sys;{written}sys.exit({code})")
        kubernetes_row.run(tmp_path, name, [sys.executable, "-m", "played"], afresh=afresh, PYTHONPATH=str(tmp_path))
        return kubernetes_row.told(tmp_path, name)

    run.out = tmp_path
    return run


def test_a_cell_counts_what_was_as_claimed_and_names_what_was_not(run):
    assert run(code=1, e2e=RESULTS) == "2 of 3; **not** `test_pr_5_c[real]`"
    assert kubernetes_row.results(run.out, "e2e")["test_hs_2_b[real]"] == "xfailed"
    assert kubernetes_row.fact_of("test_hs_2_b[real]") == "HS-2"


def test_what_is_tried_again_takes_the_place_of_what_it_was_before(run):
    again = '<testsuites><testsuite><testcase name="test_pr_5_c[real]"/></testsuite></testsuites>'
    run(code=1, e2e=RESULTS)

    assert run(e2e=again, afresh=False) == "3 of 3"
    assert run(e2e=again) == "1 of 1"


@pytest.mark.parametrize(
    ("code", "files"),
    [(1, {}), (0, {"e2e": ""}), (1, {"e2e": "<testsuites><tests"}), (2, {"e2e": "<testsuites/>"}), (-9, {})],
)
def test_a_run_that_was_cut_off_is_not_as_claimed(run, code, files):
    assert run(code=code, **files) == "0 of 1; **not** `the end of the run`"


def test_claims_count_only_if_both_parts_of_them_were_tried(run):
    one = '<testsuites><testsuite><testcase name="test_{}"/></testsuite></testsuites>'.format

    assert run("real", **{"real-together": one(1)}) == "1 of 2; **not** `the end of the run`"
    assert run("real", **{"real-together": one(1), "real-alone": one(2)}) == "2 of 2"


def test_a_part_that_fails_makes_the_claims_fail_and_one_without_a_test_does_not(monkeypatch):
    ends = {}
    monkeypatch.setattr(fidelity, "part", lambda name, *_: ends[name])
    for together, alone, whole in [
        (0, 0, 0),
        (5, 0, 0),
        (0, 5, 0),
        (5, 5, 5),
        (1, 0, 1),
        (0, 1, 1),
        (5, 1, 1),
        (0, -9, -9),
    ]:
        ends.update(together=together, alone=alone)
        assert fidelity.run([]) == whole


def test_a_row_takes_the_place_of_the_one_of_its_minor_and_rows_are_in_order():
    page = kubernetes_row.PAGE.read_text()
    for version in ("1.36.3", "1.9.1", "1.36.4"):
        page = kubernetes_row.with_row(page, [version, *"abcdef"])

    table = page.partition(kubernetes_row.HEAD)[2].partition("\n\n")[0]
    versions = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    assert versions[0] == "1.9.1"
    assert "1.36.4" in versions
    assert "1.36.3" not in versions
    assert page.partition("\n\n")[0] == kubernetes_row.PAGE.read_text().partition("\n\n")[0]


def test_a_page_without_the_table_is_not_written():
    with pytest.raises(SystemExit, match="has no table"):
        kubernetes_row.with_row("nothing", ["1.36.3"])
