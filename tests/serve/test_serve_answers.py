"""Answers and maps over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from live_server import live, make_server, until
from servers import ChatServer, says, serving

from qianru.index.collection import Collection
from qianru.serve import asking
from qianru.serve.keys import Keys
from qianru.serve.options import Limits, Options
from qianru.serve.run import made
from qianru.serve.server import Server
from qianru.types import Document
from qianru.use.ask.chat import Chat

RULES = ["退货须在七天之内提出。", "运费由买家承担。", "发票随货寄出。", "客服电话每天九点至十八点接听。"]


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("answers") / "rules"
    with Collection.create(path) as library:
        library.add(Document(f"第{i}条", text) for i, text in enumerate(RULES, 1))
    return path


@pytest.fixture(scope="module")
def plain(rules: Path) -> Iterator[tuple[httpx.Client, Server]]:
    """A client of a server without a chat model."""
    server = made([str(rules)], Options(port=0, limits=Limits(answers=1)), Keys())
    with live(server) as client:
        yield client, server


def events(text: str) -> list[tuple[str, Any]]:
    """The events of a stream."""
    told = []
    for part in text.strip().split("\n\n"):
        name, data = part.split("\n")
        told.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return told


def test_without_a_chat_model_the_passages_own_sentences_answer(plain: Any) -> None:
    client, _ = plain
    whole = client.post("/collections/rules/ask", json={"question": "几天之内可以退货？", "stream": False}).json()
    assert whole["extractive"] is True
    assert "退货须在七天之内提出" in whole["text"]
    for cited in whole["citations"]:
        assert whole["text"][cited["start"] : cited["end"]] == f"[{cited['number']}]"
    assert whole["passages"][0].items() >= {"number": 1, "id": "第1条", "source": "第1条", "line": None}.items()


def test_the_stream_has_passages_then_text_then_the_end(plain: Any) -> None:
    client, server = plain
    answer = client.post("/collections/rules/ask", json={"question": "几天之内可以退货？"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = events(answer.text)
    assert [name for name, _ in told[:1] + told[-1:]] == ["passages", "done"]
    assert {name for name, _ in told[1:-1]} == {"text"}
    until(lambda: server.n_answers == 0)
    whole = client.post("/collections/rules/ask", json={"question": "几天之内可以退货？", "stream": False}).json()
    assert "".join(data["text"] for _, data in told[1:-1]) == whole["text"]


def test_what_cannot_be_answered_is_an_error_and_no_stream(plain: Any) -> None:
    client, server = plain
    for body, status in (({"question": " "}, 400), ({"question": ""}, 422), ({"question": "退", "k": 10**6}, 422),
                         ({"question": "退", "history": [{"role": "system", "content": "x"}]}, 422)):
        assert client.post("/collections/rules/ask", json=body).status_code == status
        until(lambda: server.n_answers == 0)
    assert client.post("/collections/nothing/ask", json={"question": "退"}).status_code == 404


def test_a_chat_model_writes_the_answer(rules: Path) -> None:
    chat = ChatServer(lambda body: "七天之内[1]，月亮上不行[9]。")
    with serving(chat.handler()) as url:
        server = made([str(rules)], Options(port=0), Keys(), chat=Chat(f"{url}/v1", "月"))
        with live(server) as client:
            told = events(client.post("/collections/rules/ask", json={
                "question": "几天之内可以退货？", "history": [{"role": "user", "content": "你好"},
                                                     {"role": "assistant", "content": "你好"}]}).text)
            assert "".join(data["text"] for name, data in told if name == "text") == "七天之内[1]，月亮上不行[9?]。"
            assert [(one["number"], one["resolved"]) for one in told[-1][1]["citations"]] == [(1, True), (9, False)]
            assert told[-1][1]["extractive"] is False
            assert len([name for name, _ in told if name == "text"]) > 2
            chat.tricks += [says(400, {"error": {"message": "no such model"}})] * 2
            failed = events(client.post("/collections/rules/ask", json={"question": "退货？"}).text)
            assert [name for name, _ in failed] == ["passages", "error"]
            assert "400" in failed[-1][1]["message"]
            whole = client.post("/collections/rules/ask", json={"question": "退货？", "stream": False})
            assert whole.status_code == 502


def test_answers_that_are_being_written_are_counted_and_bounded(plain: Any) -> None:
    client, server = plain
    server.n_answers += 1
    try:
        assert client.post("/collections/rules/ask", json={"question": "退货？"}).status_code == 429
    finally:
        server.n_answers -= 1


def test_a_map_is_drawn_behind_and_then_given(plain: Any) -> None:
    pytest.importorskip("sklearn")
    client, _ = plain
    answers: list[httpx.Response] = []

    def given() -> bool:
        answers.append(client.get("/collections/rules/map?limit=3"))
        assert answers[-1].status_code in (200, 202)
        return answers[-1].status_code == 200

    until(given, 60)
    assert answers[0].status_code == 202
    assert (answers[0].json()["state"], answers[0].headers["retry-after"]) == ("working", "1")
    found = answers[-1].json()
    points = np.frombuffer(base64.b64decode(found["points"]), "<f4").reshape(-1, 2)
    assert len(points) == len(found["ids"]) == 3
    assert client.get("/collections/rules/map?limit=0").status_code == 422


def test_a_stream_can_be_closed_at_once_when_its_client_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    server = make_server({})
    monkeypatch.setattr(asking, "server_of", lambda request: server)
    closed = []

    async def events() -> AsyncIterator[int]:
        try:
            await asyncio.sleep(30)
            yield 1
        finally:
            closed.append(True)

    async def asked() -> None:
        async def receive() -> dict[str, str]:
            await asyncio.sleep(0.01)           # the first event is waited for by now
            return {"type": "http.disconnect"}

        made = events()
        with pytest.raises(asking.ClientGone):
            await asking.waited(SimpleNamespace(receive=receive), anext(made))  # type: ignore[arg-type]
        await made.aclose()                     # type: ignore[attr-defined]

    asyncio.run(asked())
    assert closed == [True]
