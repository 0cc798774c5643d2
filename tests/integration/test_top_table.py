"""The table of `fakehw top`, line by line: columns, cursor, and what is in view of more rows than there are lines."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from typing import Any

from rich.text import Text
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Input

from fakehw.view.top_table import KeyTable

WIDE, NARROW = {"A": 6, "B": 0, "C": 10}, {"A": 6, "B": 0}


class One(App[None]):
    """A screen with one table, and a field beside it that can have the focus."""

    CSS = "KeyTable { height: 5; } Input { height: 1; border: none; }"

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Hashable] = []
        self.moved = 0

    def compose(self) -> ComposeResult:
        yield KeyTable(lambda width: WIDE if width >= 30 else NARROW, self._row, id="one")
        yield Input()

    def _row(self, key: Hashable) -> Mapping[str, Text]:
        self.asked.append(key)
        return {"A": Text(f"a{key}"), "B": Text(f"b{key}" * 5), "C": Text(f"c{key}", "bold red")}

    def on_key_table_moved(self, _: KeyTable.Moved) -> None:
        self.moved += 1

    @property
    def table(self) -> KeyTable:
        return self.query_one(KeyTable)

    def lines(self) -> list[str]:
        return [self.table.render_line(y).text for y in range(5)]

    def turned(self) -> list[int]:
        """Return the lines that are shown in reverse."""
        return [y for y in range(5) if any(part.style and part.style.reverse for part in self.table.render_line(y))]


@contextlib.asynccontextmanager
async def shown(count: int, width: int = 30) -> AsyncIterator[tuple[One, Pilot[None]]]:
    app = One()
    async with app.run_test(size=(width, 8)) as pilot:
        app.table.focus()
        app.table.show(list(range(count)))
        await pilot.pause()
        yield app, pilot


async def test_each_column_has_its_width_and_the_one_without_takes_the_rest() -> None:
    async with shown(2) as (app, _):
        assert app.lines() == [
            "A     B             C         ",
            "a0    b0b0b0b0b0    c0        ",
            "a1    b1b1b1b1b1    c1        ",
            " " * 30,
            " " * 30,
        ]
        assert app.table.text(1) == ["a1", "b1b1b1b1b1", "c1"]
        assert app.table.text(2) == [], "there is no such row"


async def test_a_cell_that_does_not_fit_ends_with_dots_two_columns_before_the_next() -> None:
    async with shown(1, width=16) as (app, _):
        assert app.lines()[:2] == ["A     B         ", "a0    b0b0b0b…  "]
        assert app.table.text(0) == ["a0", "b0b0b0b0b0"]


async def test_a_screen_that_is_too_small_for_any_room_shows_what_it_can() -> None:
    async with shown(1, width=4) as (app, _):
        assert app.lines()[:2] == ["A   ", "a0  "]


async def test_the_head_is_bold_and_underlined_and_a_cell_keeps_its_colour() -> None:
    async with shown(2) as (app, _):
        head = [part.style for part in app.table.render_line(0)]
        assert all(style and style.bold and style.underline for style in head)
        plain, coloured = [(part.text, part.style) for part in app.table.render_line(2) if part.text.strip()]
        assert (plain[0], coloured[0].strip()) == ("a1    b1b1b1b1b1    ", "c1")
        assert plain[1]
        assert not plain[1].bold
        assert not plain[1].underline
        assert coloured[1]
        assert (coloured[1].bold, str(coloured[1].color)) == (True, "Color('red', ColorType.STANDARD, number=1)")


async def test_the_cursor_is_turned_where_the_table_has_the_focus() -> None:
    async with shown(3) as (app, pilot):
        assert app.turned() == [1]
        await pilot.press("down")
        assert app.turned() == [2]
        app.query_one(Input).focus()
        await pilot.pause()
        assert app.turned() == []
        assert app.table.selected == 1


async def test_keys_move_the_cursor_and_the_view_and_stop_at_the_ends() -> None:
    async with shown(20) as (app, pilot):

        async def after(*keys: str) -> tuple[Any, str, str]:
            await pilot.press(*keys)
            await pilot.pause()
            lines = app.lines()
            return app.table.selected, lines[1].split()[0], lines[4].split()[0]

        assert await after("up") == (0, "a0", "a3")
        assert await after("down") == (1, "a0", "a3")
        assert await after("j", "j") == (3, "a0", "a3")
        assert await after("down") == (4, "a1", "a4")
        assert await after("k") == (3, "a1", "a4")
        assert await after("k", "up") == (1, "a1", "a4")
        assert await after("up") == (0, "a0", "a3")
        assert await after("pagedown") == (3, "a0", "a3"), "a screen of four rows, less one to go on reading from"
        assert await after("pagedown") == (6, "a3", "a6")
        assert await after("pageup") == (3, "a3", "a6")
        assert await after("end") == (19, "a16", "a19")
        assert await after("down", "pagedown") == (19, "a16", "a19")
        assert await after("home") == (0, "a0", "a3")
        assert app.moved == 16, "whoever listens is told of each"


async def test_only_rows_that_are_on_the_screen_are_made() -> None:
    async with shown(10_000) as (app, pilot):
        assert set(app.asked) == {0, 1, 2, 3}
        app.asked.clear()
        await pilot.press("end")
        await pilot.pause()
        assert {9996, 9997, 9998, 9999} <= set(app.asked) <= {*range(4), *range(9996, 10_000)}
        assert app.table.virtual_size.height == 10_001, "the head covers a line"


async def test_the_cursor_stays_on_its_key_or_where_it_was() -> None:
    async with shown(5) as (app, pilot):
        await pilot.press("down", "down")
        cases: list[tuple[list[Hashable], Hashable]] = [
            ([4, 3, 2, 1, 0], 2), ([9, 8, 2], 2), ([9, 8, 7], 7), ([9, 8, 7, 6], 7), ([5], 5), ([], None), ([1, 2], 1),
        ]  # fmt: skip
        for keys, selected in cases:
            app.table.show(keys)
            assert app.table.selected == selected
        app.table.show([])
        await pilot.press("down", "end", "up")
        assert app.table.selected is None
        assert app.lines()[1] == " " * 30


def test_a_column_may_be_of_any_shape() -> None:
    columns: Callable[[int], Mapping[str, int]] = lambda _: {}  # noqa: E731  # what stands for it
    table = KeyTable(columns, lambda _: {}, id="x")
    assert (table.id, table.selected, table.can_focus, table.text(1)) == ("x", None, True, [])
