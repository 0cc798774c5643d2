"""hack/kubernetes_row.py: what it makes of a run, and where it writes it."""

from __future__ import annotations

import pytest

from hack import kubernetes_row

RESULTS = """<testsuites><testsuite>
<testcase name="test_reg_1_a[real]"/>
<testcase name="test_hs_2_b[real]"><skipped type="pytest.xfail" message="holds 1.36 to"/></testcase>
<testcase name="test_pr_5_c[real]"><failure message="no"/></testcase>
<testcase name="test_facts"><skipped type="pytest.skip" message="later"/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def out(tmp_path, monkeypatch):
    monkeypatch.setattr(kubernetes_row, "OUT", tmp_path)
    return tmp_path


def test_a_cell_counts_what_was_as_claimed_and_names_what_was_not(out):
    (out / "real.xml").write_text(RESULTS)

    assert kubernetes_row.told("real") == "2 of 3; **not** `test_pr_5_c[real]`"
    assert kubernetes_row.results("real")["xfailed"] == ["test_hs_2_b[real]"]
    assert kubernetes_row.fact_of("test_hs_2_b[real]") == "HS-2"


@pytest.mark.parametrize("left", [None, "", "<testsuites><tests"])
def test_a_run_that_did_not_end_says_so(out, left):
    if left is not None:
        (out / "real.xml").write_text(left)

    assert kubernetes_row.told("real") == "**did not run to its end**"


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
