"""Documents that are broken or meant to harm, and disks that fail, through `qianru index` as a person runs it."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Qianru

FILES: dict[str, tuple[bytes, str]] = {      # name -> what it holds, how it is told
    "empty.txt": (b"", "notes/empty.txt: It is empty."),
    "empty.csv": (b"", "notes/empty.csv: It is empty."),
    "blanks.md": (b" \n\t\n", ""),
    "nul.txt": (("甲方" * 50 + "\0乙方\n").encode(), "notes/nul.txt:1: 1 NUL"),
    "zeros.txt": (bytes(4096), "notes/zeros.txt: It holds bytes that are no text."),
    "half.jsonl": (b'{"text": "\xe7\x94\xb2\\ud800"}\n', "notes/half.jsonl:1: 1 halves of surrogate pairs"),
    "broken.jsonl": ('{"text": "甲"}\n{"text": \n{"text": "海豚"}\n'.encode(), "notes/broken.jsonl:2: It is no JSON"),
    "surrogate.txt": ("企鹅在南极。\ud800企鹅成群。\n".encode("utf-8", "surrogatepass"), "notes/surrogate.txt:1: "),
    "mixed.txt": ("甲方\n".encode() * 3 + "骆驼\n".encode("gb18030"), "notes/mixed.txt:4: "),
    "none.docx": (b"PK\3\4", "notes/none.docx: "),
    "none.pdf": (b"this is no PDF", "notes/none.pdf: "),
    "cut.pdf": (b"%PDF-1.4\n1 0 obj\n<<", "notes/cut.pdf: "),
    "none.txt.gz": (b"x", "notes/none.txt.gz: It is no complete gzip file"),
    "picture.txt": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "notes/picture.txt: "),
    "picture.png": (b"\x89PNG\r\n\x1a\n", ".png (1)"),
    "ragged.csv": ("名,文\n甲,苹果\n乙\n丙,多,余\n丁,橙汁\n".encode(), "notes/ragged.csv:3: 1 fields"),
    "line.txt": (("长颈鹿、" * 250_000).encode(), ""),
}


@pytest.fixture
def hostile(notes: Path) -> Path:
    for name, (content, _) in FILES.items():
        (notes / name).write_bytes(content)
    (notes / "around").symlink_to(notes)
    (notes / "a.txt").symlink_to("b.txt")
    (notes / "b.txt").symlink_to("a.txt")
    os.mkfifo(notes / "pipe.txt")
    return notes


def found(qianru: Qianru, word: str) -> list[str]:
    """The files in which the word is found, with their lines."""
    hits = qianru("search", word, "--json", "-k", "50").json()["hits"]
    return [f"{hit['fields']['path']}:{hit['fields']['line']}" for hit in hits]


def test_each_is_reported_with_file_and_line_and_the_rest_is_indexed(hostile: Path, qianru: Qianru) -> None:
    result = qianru("index", "notes", "--json")
    assert (result.code, result.err) == (0, "")
    problems = result.json()["problems"]
    for told in [told for _, told in FILES.values() if told] + ["notes/a.txt: ", "notes/around: ", "notes/pipe.txt: "]:
        assert any(told in problem for problem in problems), told
    assert found(qianru, "橙汁")[0] == "notes/ragged.csv:5"
    assert found(qianru, "海豚")[0] == "notes/broken.jsonl:3"
    assert found(qianru, "企鹅")[0] == "notes/surrogate.txt:1"
    assert found(qianru, "骆驼")[0] == "notes/mixed.txt:1"
    assert found(qianru, "长颈鹿")[0] == "notes/line.txt:1"
    assert found(qianru, "退款")[0] == "notes/退款.md:1"


def test_the_second_time_they_are_no_work_and_no_surprise(hostile: Path, qianru: Qianru) -> None:
    n = qianru("index", "notes", "--json").json()["n_passages"]
    again = qianru("index", "notes", "--json").json()
    assert (again["n_passages"], again["added"], again["updated"], again["removed"]) == (n, 0, 0, 0)


def test_without_json_problems_are_warnings_and_many_become_a_number(hostile: Path, qianru: Qianru) -> None:
    err = qianru("index", "notes").err.splitlines()
    assert all(line.startswith("warning: ") for line in err)
    assert err[-1].endswith("--json lists all") == (len(err) == 21)


@pytest.mark.slow
def test_a_hundred_megabytes_of_one_line_are_indexed(tmp_path: Path, qianru: Qianru) -> None:
    line = "春眠不觉晓，处处闻啼鸟，夜来风雨声，花落知多少，"
    (tmp_path / "one.txt").write_text(line * (100_000_000 // len(line.encode()) + 1) + "长颈鹿", encoding="utf-8")
    library = tmp_path / "library"
    assert qianru("index", tmp_path / "one.txt", "-c", library).code == 0
    assert "长颈鹿" in qianru("search", "长颈鹿", "-c", library, "--json").json()["hits"][0]["text"]


# Disks that fail


def test_a_full_disk_is_one_line_and_what_was_stored_is_found(indexed: Path, qianru: Qianru) -> None:
    """A limit on the size of files stands in for a full disk."""
    for i in range(40):
        (indexed / f"{i}.txt").write_text("".join(f"第{i}篇第{j}句。\n" for j in range(2000)), encoding="utf-8")

    def small_files_only() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    done = subprocess.run([sys.executable, "-m", "qianru", "index", "notes"], capture_output=True, text=True,
                          preexec_fn=small_files_only, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert "What was stored before is intact" in done.stderr
    assert found(qianru, "退款")[0] == "notes/退款.md:1"
    assert qianru("index", "notes").code == 0            # with room again, the same command goes on
    assert len(found(qianru, "第39篇")) > 0


def test_a_folder_that_cannot_be_written_can_be_searched_and_index_says_so(
    indexed: Path, let_others_in: Callable[[], None]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("becoming another user takes the administrator's rights")
    let_others_in()
    code = """
import contextlib, io, json, os
from qianru.cli.app import run
def call(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(list(arguments))
    return [code, out.getvalue(), err.getvalue()]
call("search", "退款"), call("index", "notes"), call("index", "none", "-c", "none")   # loads what they need
os.setgid(65534); os.setuid(65534)
print(json.dumps([call("search", "退款", "--json"), call("index", "notes"), call("index", "notes", "-c", "new")]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    searched, again, new = json.loads(done.stdout)
    assert searched[0] == 0, searched
    assert json.loads(searched[1])["hits"][0]["fields"]["path"] == "notes/退款.md"
    for code_, out, err in again, new:
        assert (code_, out) == (1, "")
        assert err.startswith("error: ")
        assert len(err.splitlines()) == 1
