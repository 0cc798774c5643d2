"""hack.bench: what is left out of a comparison is said, and does not end it."""

import pytest

from hack.bench import measures, report


def test_what_a_plugin_does_not_do_is_said_under_the_table_and_the_rest_is_measured() -> None:
    result = report.Report({"cpu": "any"})

    with result.measuring("health write to list (ms)", "other"):
        raise measures.NotMeasuredError("no list within 10 s of a health write")
    with result.measuring("Allocate (ms)", "other") as add:
        add([1.0, 2.0, 3.0])

    table = result.table()
    assert "| Allocate (ms) | other | 1 | 2 | 3 | 3 |" in table
    assert "not measured: other: health write to list (ms): no list within 10 s of a health write" in table
    assert "| health write" not in table


def test_a_fault_of_the_benchmark_itself_is_not_hidden() -> None:
    result = report.Report({})

    with pytest.raises(ZeroDivisionError), result.measuring("Allocate (ms)", "other"):
        raise ZeroDivisionError


def test_the_ratio_of_a_slow_other_is_not_rounded_to_nothing() -> None:
    result = report.Report({})
    result.add("kubelet restart to list (ms)", "fakehw", [5.0])
    result.add("kubelet restart to list (ms)", "other", [5996.0])

    assert result.table().endswith("| 0.0008 |")
