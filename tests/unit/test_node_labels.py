"""Labels and taints of Kubernetes nodes in a spec, by the API server's rules."""

from __future__ import annotations

import re

import pytest

from fakehw.spec import node_labels
from fakehw.spec.node_labels import Taint

NAME = (
    "must be at most 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends, "
    "and perhaps a domain and a slash before it"
)
VALUE = "must be at most 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends"
DOMAIN = "must be the name of a Kubernetes node: lower-case letters, digits and '-', in parts joined by '.'"
TAINT = "must be KEY=VALUE:EFFECT or KEY:EFFECT, with one of NoSchedule, PreferNoSchedule, NoExecute"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a", None),
        ("A_b.c-9", None),
        ("x" * 63, None),
        ("a.b/c", None),
        ("node-role.kubernetes.io/worker", None),
        (f"{'a' * 253}/x", None),
        ("", NAME),
        ("x" * 64, NAME),
        ("-a", NAME),
        ("a-", NAME),
        ("a b", NAME),
        ("a.b/", NAME),
        ("a\n", NAME),
        ("/a", DOMAIN),
        ("A.b/c", DOMAIN),
        ("a/b/c", DOMAIN),
        (f"{'a' * 254}/x", DOMAIN),
    ],
)
def test_a_label_has_a_name_and_perhaps_a_domain(text: str, rule: str | None) -> None:
    if rule is None:
        node_labels.check_name(text)
        return
    with pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
        node_labels.check_name(text)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", None),
        ("a", None),
        ("A_b.c-9", None),
        ("x" * 63, None),
        ("zone-{index}", None),
        ("{node}", None),
        ("x" * 62 + "{index}", None),
        ("x" * 62 + "{node}", None),
        ("x" * 63 + "{index}", VALUE),
        ("x" * 64, VALUE),
        ("a b", VALUE),
        ("-a", VALUE),
        ("a-", VALUE),
        ("{index}-", VALUE),
        ("{{a}}", VALUE),
        ("{id}", "{id} is no placeholder here; known are {node}, {index}, and {{ }} for braces themselves"),
    ],
)
def test_a_label_has_a_value_that_may_be_filled_in(text: str, rule: str | None) -> None:
    if rule is None:
        node_labels.check_value(text)
        return
    with pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
        node_labels.check_value(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=b:NoSchedule", Taint("a", "b", "NoSchedule")),
        ("a:PreferNoSchedule", Taint("a", "", "PreferNoSchedule")),
        ("a=:NoExecute", Taint("a", "", "NoExecute")),
        ("a.b/c=d:NoExecute", Taint("a.b/c", "d", "NoExecute")),
    ],
)
def test_a_taint_is_read_as_kubectl_reads_it(text: str, expected: Taint) -> None:
    assert node_labels.taint(text) == expected
    assert node_labels.taint(text)._fields == ("key", "value", "effect")
    node_labels.check_taint(text)


@pytest.mark.parametrize(
    ("text", "rule"),
    [(text, TAINT) for text in ("", "a", "a=b", ":NoExecute", "=b:NoExecute", "a:Never", "a:None", "a:b:NoExecute", "a:noexecute")]
    + [("a=b=c:NoExecute", TAINT), ("a:NoExecute\n", TAINT), ("a b:NoExecute", NAME), ("A.b/c:NoExecute", DOMAIN), ("a=b c:NoExecute", VALUE)],
)  # fmt: skip  # one list
def test_a_taint_that_is_none_is_refused_with_the_rule(text: str, rule: str) -> None:
    for check in (node_labels.check_taint, node_labels.taint):
        with pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
            check(text)
