"""What the kit says of what it saw: cut between words, never inside one, and never silently."""

from __future__ import annotations

import hypothesis
from hypothesis import strategies as st

from fakekubelet.conformance import verdict


def test_evidence_is_cut_between_words():
    assert verdict.start_of("refused: device npu0 is gone", 20) == "refused: device ..."
    assert verdict.end_of("first line\nTraceback: device is gone", 18) == "... device is gone"
    assert verdict.start_of("short\n text", 20) == verdict.end_of("short\n text", 20) == "short text"


@hypothesis.given(st.text(st.characters(codec="utf-8"), max_size=60), st.integers(10, 40))
def test_what_is_cut_is_at_most_so_long_and_says_so(text, most):
    words = " ".join(text.split())
    for cut in (verdict.start_of(text, most), verdict.end_of(text, most)):
        assert len(cut) <= most
        assert cut == words or "..." in cut


def test_a_long_enumeration_says_how_many_more_there_are():
    assert verdict.some("abc") == "a, b, c"
    assert verdict.some("abcdefg") == "a, b, c, d, e and 2 more"
