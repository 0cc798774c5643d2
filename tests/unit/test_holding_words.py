"""Who holds what, answer by answer: what passes is said, and what a kubelet does not say is remarked on once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fakehw.layout import TreePath
from fakehw.view import holding, pod_resources

ONE, TWO = (TreePath("n", "dev1", number) for number in (1, 2))


async def test_a_silence_is_remarked_on_once_for_each_reason_and_what_was_said_before_it_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silent, gone = pod_resources.UnknownError("silent"), pod_resources.UnknownError("gone")
    answers: list[Any] = [{TWO.id: "p"}, silent, silent, gone, {ONE.id: "q", TWO.id: "p"}, gone, gone, {ONE.id: "q"}]
    said: list[tuple[TreePath, str, str]] = []
    remarks: list[str] = []

    async def holders(socket: Path) -> dict[str, str]:
        if not answers:
            raise asyncio.CancelledError
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, dict)
        return answer

    monkeypatch.setattr(pod_resources, "holders", holders)
    monkeypatch.setattr(holding, "ASK_EVERY_S", 0.0)
    follower: Any = SimpleNamespace(devices=[TWO, ONE])
    with pytest.raises(asyncio.CancelledError):
        await holding.tell(
            follower, Path("s"), say=lambda one: said.append((one.path, one.was, one.now)), remark=remarks.append
        )
    assert remarks == [f"nobody says who holds what: {word}" for word in ("silent", "gone", "gone")]
    assert said == [(ONE, "", "q"), (TWO, "p", "")]
