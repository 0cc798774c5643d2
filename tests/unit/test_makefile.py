"""The Makefile is a thin door: every target that it declares does something."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text().replace("\\\n", " ")
RULES = re.findall(r"^([a-z0-9-]+):(?!=).*\n((?:\t.*\n)*)", MAKEFILE, re.MULTILINE)


def test_every_phony_target_has_a_recipe():
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE).group(1).split()
    with_recipe = {name for name, recipe in RULES if recipe or name == "setup"}  # setup is its prerequisite, the stamp

    assert set(phony) - with_recipe == set(), "make would say nothing and succeed"


def test_every_rule_that_makes_no_file_is_phony():
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE).group(1).split()

    assert {name for name, _ in RULES} - set(phony) == set(), "a file of that name would stop it"
