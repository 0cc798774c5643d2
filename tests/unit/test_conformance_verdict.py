"""What the kit says of what it saw: cut between words, never inside one, and never silently."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from fakekubelet.conformance import verdict
from fakekubelet.conformance.verdict import Result, Verdict


def test_evidence_is_cut_between_words():
    assert verdict.start_of("refused: device npu0 is gone", 20) == "refused: device ..."
    assert verdict.end_of("first line\nTraceback: device is gone", 18) == "... device is gone"
    assert verdict.start_of("short\n text", 20) == verdict.end_of("short\n text", 20) == "short text"


@pytest.mark.parametrize(
    ("most", "start", "end"),
    [
        (11, "one two six", "one two six"),
        (10, "one ...", "... six"),
        (7, "one ...", "... six"),
    ],
)
def test_what_fits_to_the_letter_is_not_cut(most, start, end):
    assert verdict.start_of("one two six", most) == start
    assert verdict.end_of("one two six", most) == end


@pytest.mark.parametrize(
    ("most", "end"), [(15, "... three four"), (14, "... three four"), (13, "... four"), (8, "... four"), (7, "... our")]
)
def test_the_end_begins_with_a_whole_word_where_there_is_one(most, end):
    assert verdict.end_of("one two three four", most) == end


@hypothesis.given(st.text(st.characters(codec="utf-8"), max_size=60), st.integers(10, 40))
def test_what_is_cut_is_at_most_so_long_and_says_so(text, most):
    words = " ".join(text.split())
    for cut in (verdict.start_of(text, most), verdict.end_of(text, most)):
        assert len(cut) <= most
        assert cut == words or "..." in cut


@hypothesis.given(st.lists(st.text("ab", min_size=1, max_size=9), min_size=1, max_size=12), st.integers(14, 60))
def test_of_short_words_as_many_are_told_as_there_is_room_for(words, most):
    text = " ".join(words)
    tails = [" ".join(words[first:]) for first in range(len(words))]
    expected = text if len(text) <= most else next(f"... {tail}" for tail in tails if len(tail) + 4 <= most)

    assert verdict.end_of(text, most) == expected


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("", ""),
        ("a", "a"),
        ("abcde", "a, b, c, d, e"),
        ("abcdef", "a, b, c, d, e and 1 more"),
        ("abcdefg", "a, b, c, d, e and 2 more"),
    ],
)
def test_a_long_enumeration_says_how_many_more_there_are(names, said):
    assert verdict.some(names) == said
    assert verdict.some("abc", 2) == "a, b and 1 more"


def test_a_check_is_named_after_its_function_and_claims_the_first_line_of_its_docstring():
    def keeps_its_word(seen):
        """Keeps its word.

        Or not.
        """
        return verdict.kept(f"it kept {seen}")

    check = verdict.check("REG-1", "PIT-2")(keeps_its_word)

    assert (check.name, check.facts, check.claim) == ("keeps-its-word", ("REG-1", "PIT-2"), "Keeps its word")
    assert check("three") == Result(Verdict.KEPT, "it kept three")


def test_a_result_is_a_verdict_and_what_it_rests_on():
    assert verdict.kept("so") == Result(Verdict.KEPT, "so")
    assert verdict.broken("so") == Result(Verdict.BROKEN, "so")
    assert verdict.unjudged("so") == Result(Verdict.UNJUDGED, "so")
    assert verdict.judged([], "all well") == Result(Verdict.KEPT, "all well")
    assert verdict.judged(["one", "two"], "all well") == Result(Verdict.BROKEN, "one; two")
    assert list(map(str, Verdict)) == ["kept", "broken", "cannot be judged"]
