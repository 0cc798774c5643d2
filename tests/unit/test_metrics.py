"""Pages are made sparingly, however often they are asked for."""

from __future__ import annotations

from fakehw_plugin import metrics, web


class Page:
    """Takes `cost_s` to make, on a clock of its own."""

    def __init__(self, cost_s: float) -> None:
        self.now, self.cost_s, self.made = 0.0, cost_s, 0
        self.page = metrics.Sparing(self._make, clock=lambda: self.now)

    def _make(self) -> web.Answer:
        self.made += 1
        self.now += self.cost_s
        return web.Answer(200, str(self.made).encode())


def test_a_page_takes_a_twentieth_of_the_time_at_most() -> None:
    page = Page(cost_s=0.005)
    for _ in range(10_000):
        page.page()
        page.now += 0.001

    assert page.made * 0.005 <= page.now * 0.05 + 0.005


def test_a_page_that_costs_little_is_hardly_ever_old() -> None:
    page = Page(cost_s=0.0005)
    assert page.page().body == b"1"
    page.now += 0.009
    assert page.page().body == b"1"
    page.now += 0.002

    assert page.page().body == b"2"
