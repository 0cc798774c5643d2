"""Names of resources and nodes as a spec is checked for them; the plugin's own rule is in test_resource_name.py."""

from __future__ import annotations

import re

import pytest

from fakehw import resource_name

SLASH = "must be DOMAIN/NAME, such as myplugin.io/mydevice-3"
NAME = "the part after the slash must be 1 to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends"
DOMAIN = "the domain must be lower-case letters, digits and '-' in parts joined by '.'"
LENGTH = "the domain must have at most 244 characters"
QUOTA = "must not start with requests. (resource quotas use it)"
RESERVED = "must not contain kubernetes.io/, which Kubernetes keeps for itself"
NODE = "must be the name of a Kubernetes node: lower-case letters, digits and '-', in parts joined by '.'"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("myplugin.io/mydevice-3", None),
        ("a/b", None),
        ("0-9.a-b/A_b.c-9", None),
        (f"{'a' * 244}/x", None),
        (f"a/{'x' * 63}", None),
        ("a/Z", None),
        ("xrequests.a/b", None),
        ("requests/b", None),
        ("kubernetes.io.example/b", None),
        ("mydevice-3", SLASH),
        ("", SLASH),
        ("/x", DOMAIN),
        ("A.b/x", DOMAIN),
        ("a_b/x", DOMAIN),
        ("-a/x", DOMAIN),
        ("a-/x", DOMAIN),
        ("a..b/x", DOMAIN),
        ("a.-b/x", DOMAIN),
        (".a/x", DOMAIN),
        ("a./x", DOMAIN),
        ("a\n/x", DOMAIN),
        (f"{'a' * 245}/x", LENGTH),
        (f"requests.{'a' * 245}/x", LENGTH),
        ("requests.a/x", QUOTA),
        ("kubernetes.io/x", RESERVED),
        ("a.kubernetes.io/x", RESERVED),
        ("my-kubernetes.io/x", RESERVED),
        ("a/", NAME),
        ("a/-x", NAME),
        ("a/x-", NAME),
        ("a/.x", NAME),
        ("a/x_", NAME),
        ("a/b/c", NAME),
        ("a/x y", NAME),
        ("a/x\n", NAME),
        (f"a/{'x' * 64}", NAME),
    ],
)
def test_a_resource_is_a_domain_and_a_name_or_the_rule_that_it_breaks(text: str, rule: str | None) -> None:
    """Contract REG-10: the kubelet's own rule."""
    if rule is None:
        resource_name.check(text)
        if "/" in text:
            resource_name.check_domain(text.partition("/")[0])
        return
    with pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
        resource_name.check(text)
    if rule not in (SLASH, NAME):
        with pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
            resource_name.check_domain(text.partition("/")[0])


@pytest.mark.parametrize("text", ["a", "kind-worker2", "a.b-c.9", "0", "a" * 253])
def test_the_name_of_a_node_is_one_of_dns(text: str) -> None:
    resource_name.check_host(text)


@pytest.mark.parametrize("text", ["", "A", "a_b", "-a", "a-", "a..b", ".a", "a.", "a b", "a/b", "a\n", "a" * 254])
def test_what_is_no_name_of_a_node_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(NODE)}$"):
        resource_name.check_host(text)
