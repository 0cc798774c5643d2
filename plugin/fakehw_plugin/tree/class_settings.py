"""What a class says of all its devices together: which API serves it, and how. One file each; see docs/tree.md."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

from fakehw_plugin.attribute import AttributeType, Effect
from fakehw_plugin.offer import Api
from fakehw_plugin.tree import attributes
from fakehw_plugin.tree.entries import ClassSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from fakehw_plugin.tree.complaints import Found

MAX_DRIVER: Final = 63
_DRIVER: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")

T = TypeVar("T")


def read(fd: int, path: str, was: ClassSettings | None, found: Found, *, api: Api, domain: str) -> ClassSettings:
    """Read the settings of the class at `path`, open as `fd`. `api` and `domain` are what counts where it says nothing.

    A value that breaks its rule is told of, and what the class `was` before stands: a slip of the pen must not take
    devices away from pods.
    """

    def value(name: str, parse: Callable[[str], T], absent: T, before: T) -> T:
        try:
            return parse(attributes.read(name, dir_fd=fd))
        except attributes.MissingAttributeError:
            return absent
        except (attributes.AttributeFileError, ValueError) as error:
            found[f"{path}/{name}", f"{name}_ignored"] = str(error)
            return before

    absent = ClassSettings(api=api, driver=domain)
    before = was or absent
    chosen = value("api", _api, absent.api, before.api)
    if chosen is Api.DEVICE_PLUGIN:
        return ClassSettings(api=chosen)  # the other files are for DRA, and need not be read
    driver = value("driver", _driver, domain, before.driver or domain)
    return ClassSettings(
        chosen,
        driver if len(driver) <= MAX_DRIVER else _too_long(driver, path, found),
        value("unhealthy_effect", _effect, absent.unhealthy_effect, before.unhealthy_effect),
        value("types", _types, (), before.types),
    )


def _too_long(driver: str, path: str, found: Found) -> str:
    found[f"{path}/driver", "driver_ignored"] = (
        f"the domain is no driver's name: it has more than {MAX_DRIVER} characters"
    )
    return driver[:MAX_DRIVER].rstrip("-.")


def _api(text: str) -> Api:
    try:
        return Api(text)
    except ValueError:
        raise ValueError(f"says {attributes.one_line(text)[:40]!r}, not {' or '.join(Api)}") from None


def _driver(text: str) -> str:
    if len(text) > MAX_DRIVER or not _DRIVER.fullmatch(text):
        shown = attributes.one_line(text)[:40]
        raise ValueError(f"says {shown!r}, no DNS name of at most {MAX_DRIVER} characters in lower case")
    return text


def _effect(text: str) -> Effect:
    try:
        return Effect(text)
    except ValueError:
        raise ValueError(f"says {attributes.one_line(text)[:40]!r}, none of {', '.join(Effect)}") from None


def _types(text: str) -> tuple[tuple[str, AttributeType], ...]:
    """Return the types of attributes: lines of a name and a type."""
    types = {}
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        try:
            name, word = words
            types[name] = AttributeType(word)
        except ValueError:
            shown = attributes.one_line(line)[:40]
            raise ValueError(f"line {shown!r} is no name and one of {', '.join(AttributeType)}") from None
    return tuple(sorted(types.items()))
