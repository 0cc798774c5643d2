"""A table that renders only the lines that are on the screen: 10,000 rows cost as much as forty."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from rich.style import Style
from rich.text import Text
from textual.binding import Binding
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

_GAP: Final = 2
_CURSOR: Final = Style(reverse=True)
_HEAD: Final = Style(bold=True, underline=True)


class KeyTable(ScrollView, can_focus=True):
    """Rows by key, in the order in which they are given; `row` makes the cells of one when it is on the screen.

    `columns` says how wide each is in a screen of that width; the one of width 0 takes the room that is left. The
    cursor stays on its key, wherever that moves to.
    """

    BINDINGS: ClassVar[list[Binding]] = [  # type: ignore[assignment]  # a narrower list than the base's
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("home", "move(-1000000000)", "top", show=False),
        Binding("end", "move(1000000000)", "bottom", show=False),
    ]
    DEFAULT_CSS = "KeyTable { overflow-x: hidden; overflow-y: auto; }"

    class Moved(Message):
        """The cursor is on another row."""

    def __init__(
        self,
        columns: Callable[[int], Mapping[str, int]],
        row: Callable[[Hashable], Mapping[str, Text]],
        *,
        id: str,
    ) -> None:
        super().__init__(id=id)
        self._columns = columns
        self._row = row
        self._keys: list[Hashable] = []
        self._index: dict[Hashable, int] = {}
        self._cursor = 0

    @property
    def selected(self) -> Hashable | None:
        """Return the key that the cursor is on; None in an empty table."""
        return self._keys[self._cursor] if self._keys else None

    def show(self, keys: Sequence[Hashable]) -> None:
        """Show these rows."""
        selected = self.selected
        self._keys = list(keys)
        self._index = {key: index for index, key in enumerate(self._keys)}
        known = self._cursor if selected is None else self._index.get(selected, self._cursor)
        self._cursor = max(0, min(known, len(self._keys) - 1))
        self.virtual_size = Size(0, len(self._keys) + 1)
        self.refresh()

    def text(self, key: Hashable) -> list[str]:
        """Return the cells of a row as they are shown, from left to right."""
        columns = self._columns(self.size.width)
        cells = self._row(key) if key in self._index else {}
        return [cells[name].plain for name in columns if name in cells]

    def render_line(self, y: int) -> Strip:
        """Render one line of the screen: the head, then the rows that are in view."""
        width = self.size.width
        if y == 0:
            return self._strip({name: Text(name) for name in self._columns(width)}, width, _HEAD)
        index = y - 1 + self.scroll_offset.y
        if index >= len(self._keys):
            return Strip.blank(width, self.rich_style)
        strip = self._strip(self._row(self._keys[index]), width, None)
        return strip.apply_style(_CURSOR) if index == self._cursor and self.has_focus else strip

    def _strip(self, cells: Mapping[str, Text], width: int, style: Style | None) -> Strip:
        line = Text(no_wrap=True, end="")
        columns = self._columns(width)
        left = max(0, width - sum(columns.values()))
        for name, given in columns.items():
            cell, room = cells[name].copy(), given or left
            cell.truncate(max(0, room - _GAP), overflow="ellipsis", pad=True)
            line.append_text(cell)
            line.append(" " * min(_GAP, room))
        if style is not None:
            line.stylize(style)
        strip = Strip(list(line.render(self.app.console)), line.cell_len)
        return strip.adjust_cell_length(width, self.rich_style).apply_style(self.rich_style)

    def action_move(self, by: int) -> None:
        """Move the cursor by so many rows."""
        self._cursor = max(0, min(self._cursor + by, len(self._keys) - 1))
        # The head covers the first line of the view, so the row that is wanted begins one line further down.
        self.scroll_to_region(Region(0, self._cursor, 1, 2), animate=False, force=True)
        self.refresh()
        self.post_message(self.Moved())

    def action_page(self, by: int) -> None:
        """Move the cursor by a screen."""
        self.action_move(by * max(1, self.size.height - 2))
