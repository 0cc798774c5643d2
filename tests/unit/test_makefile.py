"""The Makefile is a thin door: every target that it declares does something."""

from __future__ import annotations

import os
import re
import subprocess
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


def test_what_a_shell_has_set_for_the_commands_does_not_reach_them(tmp_path):
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text() + "\nshow:\n\t@env\n")
    environ = {"PATH": os.environ["PATH"], "NODE_NAME": "built-in", "FAKEHW_ROOT": "/nope", "KEPT": "yes"}

    done = subprocess.run(["make", "-s", "show"], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)

    assert "KEPT=yes" in done.stdout
    assert "NODE_NAME" not in done.stdout
    assert "FAKEHW_ROOT" not in done.stdout
