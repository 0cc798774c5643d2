"""What is wrong with the tree, told as a difference: a line for what is new, and nothing is remembered that is gone.

Whoever reads a path collects all that is wrong with it and hands it in, be it nothing. So a complaint that stands is
told once, one that changed is told anew, and one that was mended makes room for others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from fakehw_plugin.logs import Logger

MAX_OF_A_DIRECTORY: Final = 50
"""Remembered complaints on what stands in one directory: one full of rubbish must not silence the others."""

MAX_IN_ALL: Final = 1000
"""The same for the tree, whose rubbish must fill neither the memory nor the log."""

Found = dict[tuple[str, str], str]
"""By path and event: the reason."""


class Complaints:
    """Warnings about the tree, each once for as long as it stands."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._standing: dict[str, dict[str, Found]] = {}
        """By directory, and by the name in it that was read."""
        self._count = 0
        self._limited: set[str] = set()
        """Directories of which something was not told."""

    @property
    def are_none(self) -> bool:
        """Tell whether nothing at all is wrong, so that nothing can be mended."""
        return not self._standing

    def replace(self, path: str, found: Mapping[tuple[str, str], str]) -> None:
        """Take note of all that was found when `path` was read; log what is new of it."""
        directory, _, name = path.rpartition("/")
        standing = self._standing.get(directory)
        if not found and standing is None:
            return
        was = standing.pop(name, {}) if standing is not None else {}
        self._count -= len(was)
        told: Found = {}
        for (where, event), reason in found.items():
            if (where, event) not in was and not self._has_room(directory, len(told)):
                self._limit(directory)
                continue
            told[where, event] = reason
            if was.get((where, event)) != reason:
                self._log.warning(event, path=where, reason=reason)
        if told:
            self._standing.setdefault(directory, {})[name] = told
            self._count += len(told)
        elif standing is not None and not standing:
            del self._standing[directory]
            self._limited.discard(directory)

    def names(self, directory: str) -> Collection[str]:
        """Return the names in `directory` about which something was said."""
        return self._standing.get(directory, {}).keys()

    def forget_below(self, directory: str) -> None:
        """Forget what was said of whatever stood in `directory`, which is gone."""
        self._limited.discard(directory)
        for found in self._standing.pop(directory, {}).values():
            self._count -= len(found)

    def _has_room(self, directory: str, more: int) -> bool:
        here = sum(map(len, self._standing.get(directory, {}).values())) + more
        return here < MAX_OF_A_DIRECTORY and self._count + more < MAX_IN_ALL

    def _limit(self, directory: str) -> None:
        if directory not in self._limited and len(self._limited) < MAX_IN_ALL:
            self._limited.add(directory)
            self._log.warning(
                "complaints_limited", path=directory, in_a_directory=MAX_OF_A_DIRECTORY, in_all=MAX_IN_ALL
            )
