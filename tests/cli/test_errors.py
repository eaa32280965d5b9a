"""Exit codes, and what goes to which stream when something is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qianru.cli.app import app

from .conftest import Qianru

COMMANDS = ["index", "search", "similarity", "similar", "fit", "words", "info", "list", "get", "count", "delete",
            "rebuild", "models", "download", "embed", "inspect", "tune", "optimize",
            "check", "compact", "reembed", "snapshot", "restore", "compare", "evaluate",
            "merge", "mine", "pretrain", "push", "report", "rerank", "train",
            "ask", "bench-server", "cluster", "dedup", "recommend", "serve"]
GROUPS = [["fit", family] for family in ["counts", "tfidf", "bm25", "lsa", "word2vec"]] + [
    ["classify", "fit"], ["classify", "predict"], ["classify", "zero-shot"], ["keys", "new"], ["keys", "list"],
    ["keys", "remove"]]


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "qianru", *arguments]
    return subprocess.run(command, capture_output=True, env=os.environ | environment, check=False)


def test_ctrl_c_inside_of_compiled_code_ends_like_any_other(qianru: Qianru, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*arguments: object) -> None:
        raise SystemError("returned a result with an exception set") from KeyboardInterrupt()

    monkeypatch.setattr("qianru.cli.asking.opened", pressed)
    assert qianru("ask", "notes", "退款？")[::2] == (130, "")


def test_every_command_is_listed(qianru: Qianru) -> None:
    help_page = qianru("--help").out
    for command in COMMANDS:
        assert f" {command} " in help_page


@pytest.mark.parametrize("command", [[command] for command in COMMANDS] + GROUPS)
def test_every_help_page_has_examples(command: list[str], qianru: Qianru) -> None:
    result = qianru(*command, "--help")
    assert result.code == 0
    assert f"$ qianru {' '.join(command)} " in result.out or command[0] in ("rebuild", "check", "compact")
    assert "Examples" in result.out


@pytest.mark.parametrize("command", [[command] for command in COMMANDS if command not in ("fit", "serve")]
                         + [group for group in GROUPS if group not in (["keys", "new"], ["keys", "remove"])])
def test_every_command_can_answer_in_json(command: list[str], qianru: Qianru) -> None:
    assert "--json " in qianru(*command, "--help").out


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["serch", "退款"], "search"),
        (["search", "退款", "--colection", "x"], "--collection"),
        (["fit", "word2vek"], "word2vec"),
    ],
)
def test_a_misspelt_command_or_option_gets_a_did_you_mean_and_code_2(
    arguments: list[str], meant: str, qianru: Qianru
) -> None:
    result = qianru(*arguments)
    assert result.code == 2
    assert meant in result.err
    assert result.out == ""


@pytest.mark.parametrize(
    "arguments", [[], ["search"], ["search", "x", "--ask"], ["similar", "x.csv"], ["search", "x", "-k", "0"]]
)
def test_wrong_use_is_code_2(arguments: list[str], qianru: Qianru) -> None:
    assert qianru(*arguments).code == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["search", "退款", "-c", "none"], "There is no collection at none"),
        (["similarity", "甲", "乙", "--metric", "cosin"], "Did you mean 'cosine'?"),
        (["similarity", "甲", "乙", "--plot", "x.gif"], ".png"),
        (["similarity", "a.txt", "b.txt"], "There is no file 'a.txt'"),
        (["similarity", "甲"], "Give two texts"),
        (["similarity", "甲", "乙", "--ngrams", "x"], "1-3"),
        (["fit", "tfidf", "notes", "-o", "m", "--min-df", "many"], "'many'"),
        (["index", "none"], "none"),
        (["info", "none"], "none"),
    ],
)
def test_what_cannot_be_done_is_one_line_on_stderr_and_code_1(
    arguments: list[str], says: str, notes: Path, qianru: Qianru
) -> None:
    result = qianru(*arguments)
    assert result.code == 1
    assert result.out == ""
    assert result.err.startswith("error: ")
    assert says in result.err
    assert len(result.err.splitlines()) == 1


def test_a_terminal_without_chinese_does_not_crash() -> None:
    for encoding in ("ascii", "gbk"):
        result = process("similarity", "我喜欢吃肉", "我爱😀吃蔬菜", "乙", PYTHONIOENCODING=encoding)
        assert result.returncode == 0
        assert b"Traceback" not in result.stderr
    result = process("similarity", "我爱😀", "乙", "--json", PYTHONIOENCODING="ascii")
    assert b'"\\u6211\\u7231\\ud83d\\ude00"' in result.stdout


def test_a_reader_that_has_gone_is_no_error(tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"第{i}行很长的文字\n" for i in range(300)), encoding="utf-8")
    command = f"'{sys.executable}' -m qianru similarity '{lines}' --json | head -c 10"
    result = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, check=False)
    assert result.stdout == b'{"metric":'
    assert result.stderr == b""
    assert result.returncode == 0


def test_the_help_page_loads_no_model_code() -> None:
    code = ("import sys; from qianru.cli.app import run; run(['--help']); "
            "print('numpy' in sys.modules, 'rjieba' in sys.modules, file=sys.stderr)")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr.split() == ["False", "False"]


def test_all_commands_are_tested_here() -> None:
    listed = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    assert sorted([*listed, "fit"]) == sorted(COMMANDS)
