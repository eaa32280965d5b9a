"""qianru ask: folders and collections, chat models that invent citations, conversations, debates, what goes where."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import ChatServer, delta, says, serving, streams

from qianru.cli.documents import own_collection, posix_checksum
from tests.cli.conftest import Qianru

SECRET = "sk-" + "明月".encode().hex()


@pytest.fixture(autouse=True)
def no_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QIANRU_CHAT_URL", "QIANRU_CHAT_MODEL", "QIANRU_CHAT_KEY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    endpoint = ChatServer(lambda body: "三个工作日内退回【1】，利息另计[7]。")
    with serving(endpoint.handler()) as address:
        monkeypatch.setenv("QIANRU_CHAT_URL", address + "/v1")
        monkeypatch.setenv("QIANRU_CHAT_MODEL", "some-chat")
        monkeypatch.setenv("QIANRU_CHAT_KEY", SECRET)
        yield endpoint


def test_a_folder_is_indexed_and_answers(notes: Path, qianru: Qianru) -> None:
    first = qianru("ask", "notes", "退款几个工作日退回？")
    assert first.code == 0
    assert first.out.startswith("退款会在三个工作日内退回原来的账户。[1]")
    assert "notes/退款.md:3  退款" in first.out
    assert "3 files read" in first.err
    assert "without a chat model" in first.err
    again = qianru("ask", "notes", "退款几个工作日退回？")
    assert again.out == first.out
    assert "read" not in again.err


def test_a_changed_folder_answers_anew(notes: Path, qianru: Qianru) -> None:
    qianru("ask", "notes", "退款几个工作日退回？")
    (notes / "退款.md").write_text("# 退款\n\n退款会在九个工作日内退回。\n", encoding="utf-8")
    (notes / "发票.txt").unlink()
    assert "九个工作日" in qianru("ask", "notes", "退款几个工作日退回？").out
    assert "没有这个问题的答案" in qianru("ask", "notes", "电子发票发送到哪里？").out


def test_the_collection_of_a_folder_is_that_of_make_run(notes: Path) -> None:
    told = subprocess.run(["sh", "-c", "realpath -m -- notes | cksum | cut -d' ' -f1"], capture_output=True, text=True,
                          check=True).stdout.strip()
    assert own_collection(Path("notes")) == Path(f".qianru-{told}")
    assert posix_checksum(b"") == 4294967295


def test_a_collection_answers(indexed: Path, qianru: Qianru) -> None:
    for arguments in (("ask", "退款几个工作日退回？"), ("ask", ".qianru", "退款几个工作日退回？")):
        assert "三个工作日" in qianru(*arguments).out


def test_json_says_all_and_nothing_else(indexed: Path, qianru: Qianru) -> None:
    told = qianru("ask", "退款几个工作日退回？", "--json").json()
    assert told["question"] == "退款几个工作日退回？"
    assert (told["extractive"], told["answered"]) == (True, True)
    cited = told["citations"][0]
    assert told["text"][cited["start"] : cited["end"]] == "[1]"
    assert cited["line"] == 3
    assert told["passages"][0]["place"] == "notes/退款.md:1"


def test_a_chat_model_is_heard_and_what_it_invents_is_told(indexed: Path, server: ChatServer, qianru: Qianru) -> None:
    told = qianru("ask", "退款几个工作日退回？")
    assert told.code == 0
    assert told.out.splitlines()[0] == "三个工作日内退回[1]，利息另计[7?]。"
    assert "the answer cites [7], and there is no such passage" in told.err
    assert "without a chat model" not in told.err
    assert SECRET not in told.out + told.err
    assert server.keys == [f"Bearer {SECRET}"]


def test_flags_name_the_chat_model(indexed: Path, tmp_path: Path, qianru: Qianru) -> None:
    endpoint = ChatServer(lambda body: "好[1]。")
    (tmp_path / "key").write_text(SECRET + "\n")
    with serving(endpoint.handler()) as address:
        told = qianru("ask", "退款几个工作日退回？", "--chat-url", address + "/v1", "--chat-model", "m",
                      "--chat-key-file", tmp_path / "key")
    assert told.out.startswith("好[1]。")
    assert (endpoint.bodies[0]["model"], endpoint.keys) == ("m", [f"Bearer {SECRET}"])


def test_a_chat_model_can_be_left_out(indexed: Path, server: ChatServer, qianru: Qianru) -> None:
    assert "三个工作日" in qianru("ask", "退款几个工作日退回？", "--no-chat").out
    assert server.bodies == []


@pytest.mark.parametrize(("arguments", "told"), [
    (("--chat-model", "m"), "needs an address"), (("--chat-url", "ftp://x"), "not the address"),
    (("--prompts", "nowhere"), "no folder of prompts"), (("--language", "de"), "no language 'de'"),
    (("--debate", "--save", "c.json"), "no conversation"),
    (("--tokenizer", "notes/退款.md"), "not a tokenizer"), (("--tokenizer", "nowhere"), "cannot be read"),
    (("--chat-url", "http://localhost/v1", "--chat-model", "m", "--chat-key-file", "nowhere"), "key cannot be read"),
])
def test_wrong_options_are_told(indexed: Path, qianru: Qianru, arguments: tuple[str, ...], told: str) -> None:
    answer = qianru("ask", "退款？", *arguments)
    assert answer.code == 1
    assert told in answer.err


def test_a_failing_server_is_an_error_and_nothing_is_kept(indexed: Path, server: ChatServer, qianru: Qianru) -> None:
    server.tricks = [streams([delta("三个工作日")]), says(400, {"error": {"message": f"no {SECRET}"}})]
    broken = qianru("ask", "退款几个工作日退回？", "--save", "c.json")
    assert broken.code == 1
    assert broken.out.startswith("三个工作日")
    assert "broke off" in broken.err
    assert not Path("c.json").exists()
    refused = qianru("ask", "退款几个工作日退回？")
    assert "no …" in refused.err
    assert SECRET not in refused.err


def test_a_conversation_goes_on_where_it_stopped(indexed: Path, server: ChatServer, qianru: Qianru) -> None:
    qianru("ask", "商品能退款吗？", "--save", "c.json")
    server.says = lambda body: "退款几天退回？" if len(body["messages"]) == 1 else "三天[1]。"
    told = qianru("ask", "那要几天？", "--save", "c.json")
    assert "Looking for: 退款几天退回？" in told.err
    turns = json.loads(Path("c.json").read_text(encoding="utf-8"))["turns"]
    assert [turn["question"] for turn in turns] == ["商品能退款吗？", "那要几天？"]
    sent = [message["content"] for message in server.bodies[-1]["messages"]]
    assert sent[1:3] == ["商品能退款吗？", "三个工作日内退回，利息另计。"]


def test_questions_are_read_until_an_empty_line(indexed: Path, qianru: Qianru, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("退款几个工作日退回？\n那运费呢？\n\n没有问\n"))
    told = qianru("ask", ".qianru", "--json")
    lines = [json.loads(line) for line in told.out.splitlines()]
    assert [line["question"] for line in lines] == ["退款几个工作日退回？", "那运费呢？"]
    assert "工作日" in lines[1]["query"]


def test_a_debate_is_shown_on_both_sides(notes: Path, qianru: Qianru) -> None:
    (notes / "辣.txt").write_text("儿童吃辣有益食欲，值得提倡。\n\n儿童吃辣有害肠胃，专家反对。\n", encoding="utf-8")
    told = qianru("ask", "notes", "儿童应该吃辣", "--debate")
    assert told.code == 0
    support, oppose = told.out.split("反对\n", 1)
    assert "有益食欲" in support
    assert "有害肠胃" in oppose
    assert "notes/辣.txt:3" in oppose
    assert "without understanding" in told.err
    assert qianru("ask", "notes", "儿童应该吃辣", "--debate", "--json").json()["by"] == "words"
    assert "has words that sound of" in qianru("ask", "notes", "应该发明电灯", "--debate").err


def test_prompts_are_copied(tmp_path: Path, qianru: Qianru) -> None:
    told = qianru("ask", "--copy-prompts", tmp_path / "mine")
    assert told.code == 0
    assert str(tmp_path / "mine" / "system.zh.txt") in told.out.splitlines()
    assert "--prompts" in told.err
    assert qianru("ask", "--copy-prompts", tmp_path / "mine").code == 1


def test_what_documents_say_cannot_drive_the_terminal(notes: Path, qianru: Qianru) -> None:
    (notes / "坏.txt").write_text("密码箱的\x1b[2J号码写在盒底。\n", encoding="utf-8")
    told = qianru("ask", "notes", "密码箱的号码写在哪里", "--passages")
    assert "号码写在盒底" in told.out
    assert "\x1b" not in told.out


def test_ctrl_c_stops_and_leaves_all_as_it_was(indexed: Path, server: ChatServer, qianru: Qianru,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("qianru.cli.asking.print_piece", pressed)
    assert qianru("ask", "退款几个工作日退回？", "--save", "c.json").code == 130
    assert not Path("c.json").exists()
    monkeypatch.undo()
    monkeypatch.chdir(indexed.parent)
    assert "三个工作日" in qianru("ask", ".qianru", "退款几个工作日退回？", "--no-chat").out


def test_documents_without_text_are_an_error_and_leave_no_collection(notes: Path, qianru: Qianru) -> None:
    Path("scan.bin").write_bytes(bytes(range(256)))
    answer = qianru("ask", "scan.bin", "退款？")
    assert (answer.code, answer.out) == (1, "")
    assert "no text to answer from in scan.bin" in answer.err
    assert not list(Path.cwd().glob(".qianru-*"))


def test_a_place_that_is_not_there_is_an_error(notes: Path, qianru: Qianru) -> None:
    told = qianru("ask", "nowhere", "退款？")
    assert told.code == 1
    assert "nowhere" in told.err
    assert not list(Path().glob(".qianru*"))
