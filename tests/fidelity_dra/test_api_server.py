"""What an API server answers to drivers, kubelets and people: a real one's answers are in `answers.json`."""

from __future__ import annotations

import json
import os

import pytest

from tests.fidelity_dra.api import Api
from tests.fidelity_dra.conftest import ANSWERS, answers
from tests.fidelity_dra.questions import QUESTIONS, NotHereError

WRITE = os.environ.get("FIDELITY_WRITE") == "1"
"""Write what the real one answers now."""


@pytest.mark.parametrize("question", sorted(QUESTIONS))
async def test_the_answer_is_the_real_one(question: str, api: Api, request: pytest.FixtureRequest) -> None:
    try:
        answer = json.loads(json.dumps(await QUESTIONS[question](api)))
    except NotHereError as error:
        pytest.skip(str(error))

    if WRITE and "real" in request.node.name:
        known = {**answers(), question: answer}
        ANSWERS.write_text(json.dumps(known, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    assert answer == answers()[question]


def test_there_is_an_answer_to_each_question_and_none_to_others() -> None:
    assert answers().keys() == QUESTIONS.keys()
