"""A chat model behind a server that misbehaves: answers come whole or fail plainly, and the key stays secret."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator

import pytest
from servers import ChatServer, Trick, delta, says, serving, sleeps, streams

from qianru.errors import BadInput, ServerFailed
from qianru.models.web import Patience
from qianru.use.ask import chat as room
from qianru.use.ask.chat import Chat, Message

SECRET = "sk-" + "床前明月光".encode().hex()
ANSWER = "签收后七天内可以申请退款[1]，\n退款三个工作日到账 😀。"
QUICK = Patience(timeout_s=5, attempts=3, first_wait_s=0.001, longest_wait_s=5)
ASKED = [Message("user", "多久能退款？")]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    """An endpoint that QIANRU_CHAT_URL leads to, and a key."""
    endpoint = ChatServer(lambda body: ANSWER)
    with serving(endpoint.handler()) as address:
        monkeypatch.setenv("QIANRU_CHAT_URL", address + "/v1/")
        monkeypatch.setenv("QIANRU_CHAT_MODEL", "some-chat")
        monkeypatch.setenv("QIANRU_CHAT_KEY", SECRET)
        monkeypatch.delenv("http_proxy", raising=False)
        yield endpoint


def chat(patience: Patience = QUICK) -> Chat:
    named = Chat.from_environment()
    assert named is not None
    named.patience = patience
    return named


def test_an_answer_comes_in_pieces(server: ChatServer) -> None:
    pieces = list(chat().stream(ASKED))
    assert "".join(pieces) == ANSWER
    assert len(pieces) > 5
    assert server.bodies[0]["messages"] == [{"role": "user", "content": "多久能退款？"}]
    assert (server.bodies[0]["model"], server.bodies[0]["stream"]) == ("some-chat", True)
    assert server.keys == [f"Bearer {SECRET}"]


def test_an_answer_that_comes_whole_will_do(server: ChatServer) -> None:
    server.tricks = [says(200, {"choices": [{"message": {"content": ANSWER}, "finish_reason": "stop"}]})]
    assert chat().complete(ASKED) == ANSWER


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/octet-stream"])
def test_a_stream_is_known_by_what_it_says_not_by_its_type(server: ChatServer, kind: str) -> None:
    server.tricks = [streams([delta(ANSWER), "[DONE]"], content_type=kind)]
    assert chat().complete(ASKED) == ANSWER


def test_comments_names_and_parts_of_events_are_read_by_the_standard(server: ChatServer) -> None:
    raw = (b": alive\r\n\r\nevent: x\r\ndata:{\"choices\": [{\"delta\":\r\ndata: {\"content\": \"\xe4\xb8\x83\"}}]}"
           b"\r\n\r\ndata: {\"choices\": []}\r\n\r\ndata: {\"choices\": [{\"finish_reason\": \"stop\"}]}")
    server.tricks = [says(200, raw, Content_Type="text/event-stream")]
    assert chat().complete(ASKED) == "七"


@pytest.mark.parametrize("trouble", [
    says(429, {"error": {"message": "slow down"}}, Retry_After="0"), says(500, b"oops"), says(503), sleeps(0),
    streams(["not json"]), streams([]), streams([{"error": {"message": "overloaded"}}]),
    says(200, b'{"choices": [{"mess'), streams([delta(""), "[DONE]"]),
], ids=["429", "500", "503", "hangs-up", "garbage", "nothing", "error-event", "cut-json", "empty"])
def test_it_is_asked_again_while_nothing_was_passed_on(server: ChatServer, trouble: Trick) -> None:
    server.tricks = [trouble, trouble]
    assert chat().complete(ASKED) == ANSWER
    assert len(server.bodies) == 3


def test_after_the_last_attempt_the_failure_is_told(server: ChatServer) -> None:
    server.tricks = [says(500, {"error": {"message": "显存不足"}})] * 9
    with pytest.raises(ServerFailed, match=r"500 .*显存不足"):
        chat().complete(ASKED)
    assert len(server.bodies) == QUICK.attempts


def test_a_refusal_is_final(server: ChatServer) -> None:
    server.tricks = [says(400, {"error": {"message": "maximum context length is 4096 tokens"}})]
    with pytest.raises(ServerFailed, match="maximum context length"):
        chat().complete(ASKED)
    assert len(server.bodies) == 1


def test_what_breaks_off_after_its_beginning_is_an_error_and_not_asked_again(server: ChatServer) -> None:
    server.tricks = [streams([delta("七天内")])]
    told: list[str] = []
    with pytest.raises(ServerFailed, match="broke off in the middle"):
        told.extend(chat().stream(ASKED))
    assert len(server.bodies) == 1


def test_what_was_said_before_the_break_was_passed_on(server: ChatServer) -> None:
    server.tricks = [streams([delta("七天"), delta("内"), "{"])]
    pieces = chat().stream(ASKED)
    assert next(pieces) + next(pieces) == "七天内"
    with pytest.raises(ServerFailed, match="no JSON"):
        next(pieces)


@pytest.mark.parametrize(("trouble", "told"), [
    (says(200, b"<html><title>Login</title></html>", Content_Type="text/html"), "answers text/html.*Login"),
    (says(200, {"data": []}), "without 'choices'"),
    (says(200, {"error": {"message": "no such model"}}), "no such model"),
    (streams([{"choices": 5}]), "form that is not known"),
    (streams([{"choices": [{"delta": {"content": 7}}]}]), "a text that is int"),
    (says(302, b"", Location="http://elsewhere/"), "redirects to http://elsewhere/"),
    (says(401, {"error": {"message": f"bad key {SECRET}"}}), "bad key …"),
], ids=["html", "other-json", "error-json", "choices", "content", "redirect", "key"])
def test_nonsense_is_told_as_what_it_is(server: ChatServer, trouble: Trick, told: str) -> None:
    server.tricks = [trouble] * 3
    with pytest.raises(ServerFailed, match=told):
        chat().complete(ASKED)


def test_a_server_that_says_nothing_is_given_up(server: ChatServer) -> None:
    server.tricks = [sleeps(0.5)] * 2
    with pytest.raises(ServerFailed, match="sent nothing for"):
        chat(Patience(timeout_s=0.1, attempts=2, first_wait_s=0.001)).complete(ASKED)


def test_an_answer_without_end_is_stopped(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "ANSWER_CHARS", 100)
    server.tricks = [streams([delta("再来" * 30)] * 3)]
    with pytest.raises(ServerFailed, match="more than 100 characters"):
        chat().complete(ASKED)


def test_a_line_without_end_is_stopped(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LINE_BYTES", 1000)
    server.tricks = [says(200, b"data: " + b"x" * 10_000)]
    with pytest.raises(ServerFailed, match="without an end of line"):
        chat().complete(ASKED)


def test_what_a_model_thinks_aloud_is_no_part_of_the_answer(server: ChatServer) -> None:
    server.says = lambda body: f"<think>\n先看[1]……\n</think>\n\n{ANSWER}"
    assert chat().complete(ASKED) == ANSWER
    server.says = lambda body: "<think>没有想完"
    with pytest.raises(ServerFailed, match="answers with no text"):
        chat().complete(ASKED)


def test_an_answer_cut_by_its_server_is_warned_of(server: ChatServer, caplog: pytest.LogCaptureFixture) -> None:
    server.tricks = [streams([delta("七天", finish="length"), "[DONE]"])]
    with caplog.at_level(logging.WARNING, "qianru"):
        assert chat().complete(ASKED) == "七天"
    assert "cut off" in caplog.text


def test_the_key_is_in_no_error_log_or_repr(server: ChatServer, caplog: pytest.LogCaptureFixture) -> None:
    server.tricks = [says(500, {"error": {"message": f"key {SECRET} fails"}})] * 3
    ready = chat()
    with caplog.at_level(logging.DEBUG), pytest.raises(ServerFailed) as raised:
        ready.complete(ASKED)
    told = "".join(traceback.format_exception(raised.value))
    assert SECRET not in told + caplog.text + repr(ready)



@pytest.mark.parametrize(("url", "key", "told"), [
    ("ftp://host/v1", None, "not the address"), ("host/v1", None, "not the address"),
    ("https://user:pass@host/v1", None, "not the address"), ("https://host/v1?key=x", None, "not the address"),
    ("http://example.com/v1", "sk-secret", "everybody on the way"),
])
def test_an_address_that_is_none_is_refused_without_being_repeated(url: str, key: str | None, told: str) -> None:
    with pytest.raises(BadInput, match=told) as raised:
        Chat(url, "some-chat", key)
    assert "pass@" not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_model_needs_a_name() -> None:
    with pytest.raises(BadInput, match="QIANRU_CHAT_MODEL"):
        Chat("http://localhost/v1", "")


def test_openais_key_goes_nowhere_but_to_openai(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QIANRU_CHAT_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    chat().complete(ASKED)
    assert server.keys == [None]
    monkeypatch.setenv("OPENAI_BASE_URL", chat().url)
    chat().complete(ASKED)
    assert server.keys == [None, f"Bearer {SECRET}"]


def test_without_an_address_there_is_no_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QIANRU_CHAT_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)      # a key alone is no wish to send anything
    assert Chat.from_environment() is None
