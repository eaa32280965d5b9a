"""index, search and what looks after a collection."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qianru.index.collection import Collection

from .conftest import Qianru


def test_a_question_finds_the_passage_with_its_file_line_and_heading(indexed: Path, qianru: Qianru) -> None:
    result = qianru("search", "怎么申请退款", "-k", "1")
    assert result.code == 0
    head, passage = result.out.splitlines()[:2]
    assert head.startswith("1 ")
    assert "notes/退款.md:" in head
    assert head.endswith("退款")
    assert passage.strip().startswith("商品签收后七天内可以申请退款")


def test_json_is_all_that_stands_on_stdout(indexed: Path, qianru: Qianru) -> None:
    found = qianru("search", "发票", "--json", "--explain").json()
    best = found["hits"][0]
    assert best["fields"]["path"] == "notes/发票.txt"
    assert best["score"] == pytest.approx(sum(weight for _, weight in best["explanation"]["terms"]), rel=1e-5)
    for command in (["index", "notes"], ["info"], ["count"], ["get", best["id"]], ["delete", best["id"]], ["rebuild"]):
        assert isinstance(qianru(*command, "--json").json(), dict)
    lines = qianru("list", "--json").out.splitlines()
    assert {"id", "text", "fields"} == set(json.loads(lines[0]))


def test_a_row_of_a_table_shows_its_other_columns(notes: Path, qianru: Qianru) -> None:
    (notes / "术语.csv").write_text("术语,英文,解释\n分词,word segmentation,把句子切成词\n", encoding="utf-8")
    assert qianru("index", "notes/术语.csv", "--text-columns", "解释").code == 0
    head, passage = qianru("search", "切成词", "-k", "1").out.splitlines()[:2]
    assert head.endswith("notes/术语.csv:2  分词, word segmentation")
    assert passage.strip() == "把句子切成词"


def test_explain_names_the_words_and_what_they_add(indexed: Path, qianru: Qianru) -> None:
    out = qianru("search", "发票", "--explain", "-k", "1").out
    assert "= sparse" in out
    assert "发票 " in out.splitlines()[-2]


def test_a_filter_narrows_the_search(indexed: Path, qianru: Qianru) -> None:
    where = ["--where", 'path ^= "notes/发票"']
    hits = qianru("search", "退款发票", *where, "--json").json()["hits"]
    assert {hit["fields"]["path"] for hit in hits} == {"notes/发票.txt"}
    assert qianru("count", *where, "--json").json()["count"] == int(qianru("count", *where).out) == len(hits)


def test_nothing_found_is_no_failure(indexed: Path, qianru: Qianru) -> None:
    result = qianru("search", "kubernetes")
    assert (result.code, result.out) == (0, "")
    assert "Nothing found" in result.err


def test_searching_again_and_again_says_nothing_on_stderr(indexed: Path, qianru: Qianru) -> None:
    for _ in range(3):
        assert qianru("search", "退款").err == ""


def test_questions_are_read_until_an_empty_line(
    indexed: Path, qianru: Qianru, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("退款\n发票\n\n运费\n"))
    answers = [json.loads(line) for line in qianru("search", "--ask", "--json").out.splitlines()]
    assert [answer["query"] for answer in answers] == ["退款", "发票"]


def test_indexing_again_reads_only_what_changed(indexed: Path, qianru: Qianru) -> None:
    again = qianru("index", "notes", "--json").json()
    assert (again["n_files_read"], again["n_files_unchanged"], again["added"]) == (0, 3, 0)
    (indexed / "发票.txt").write_text("纸质发票需要邮寄。\n", encoding="utf-8")
    changed = qianru("index", "notes", "--json").json()
    assert changed["n_files_read"] == 1
    assert qianru("search", "纸质", "--json").json()["hits"][0]["text"] == "纸质发票需要邮寄。"
    assert qianru("search", "客服", "--json").json()["hits"] == []


def test_passages_of_files_that_are_gone_stay_until_pruned(indexed: Path, qianru: Qianru) -> None:
    (indexed / "发票.txt").unlink()
    assert "--prune" in qianru("index", "notes").err
    assert qianru("search", "发票", "--json").json()["hits"]
    pruned = qianru("index", "notes", "--prune", "--json").json()
    assert pruned["vanished"] == ["notes/发票.txt"]
    assert pruned["removed"] >= 1
    assert qianru("search", "发票", "--json").json()["hits"] == []


def test_a_file_that_cannot_be_read_is_named_and_the_rest_indexed(notes: Path, qianru: Qianru) -> None:
    (notes / "broken.pdf").write_bytes(b"this is no PDF")
    result = qianru("index", "notes")
    assert result.code == 0
    assert "broken.pdf" in result.err
    assert result.out.startswith("3 files read, 1 not readable; ")
    assert qianru("search", "退款", "--json").json()["hits"]


def test_the_environment_names_the_collection(notes: Path, qianru: Qianru, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QIANRU_COLLECTION", "other")
    assert qianru("index", "notes").code == 0
    assert (notes.parent / "other").is_dir()
    assert not (notes.parent / ".qianru").exists()
    assert qianru("search", "退款", "--json").json()["hits"]


def test_while_another_writes_search_reads_and_index_says_who(indexed: Path, qianru: Qianru) -> None:
    with Collection.open(indexed.parent / ".qianru"):
        result = qianru("search", "退款", "--json")
        assert result.json()["hits"][0]["fields"]["path"] == "notes/退款.md"
        assert "reading" in result.err
        refused = qianru("index", "notes")
    assert refused.code == 1
    assert str(os.getpid()) in refused.err


def test_a_fitted_model_is_named_saved_and_searched_with(notes: Path, qianru: Qianru) -> None:
    fitted = qianru("fit", "tfidf", "notes", "-o", "model", "--json").json()
    assert fitted["family"] == "tfidf"
    assert fitted["n_terms"] > 10
    assert qianru("info", "model", "--json").json()["family"] == "tfidf"
    assert qianru("index", "notes", "--model", "model", "-c", "by-tfidf").code == 0
    assert qianru("search", "退款", "-c", "by-tfidf", "--json").json()["hits"][0]["fields"]["path"] == "notes/退款.md"
    refused = qianru("index", "notes", "--model", "bm25", "-c", "by-tfidf")
    assert refused.code == 1
    assert "made with" in refused.err


@pytest.fixture
def hybrid(notes: Path, qianru: Qianru) -> Path:
    """Two files about 发票: to the words the one that says it is nearer, to the vectors the one that says 客服."""
    (notes / "客服.txt").write_text("客服在线。\n", encoding="utf-8")
    (notes.parent / "客.vec").write_text("3 2\n发票 1 0\n客服 1 0\n邮箱 0 1\n", encoding="utf-8")
    assert qianru("index", "notes", "--model", "bm25", "--model", "客.vec").code == 0
    return notes


def test_the_weights_of_a_fusion_say_which_kind_counts(hybrid: Path, qianru: Qianru) -> None:
    for fusion in "rrf", "weighted":
        for weights, first in [("sparse=1,dense=0", "notes/发票.txt"), ("sparse=0, dense=1", "notes/客服.txt")]:
            hits = qianru("search", "发票", "--fusion", fusion, "--weights", weights, "--json").json()["hits"]
            assert hits[0]["fields"]["path"] == first


def test_fusion_by_ranks_is_the_usual_one(hybrid: Path, qianru: Qianru) -> None:
    by_ranks = qianru("search", "发票", "--fusion", "rrf", "--json").json()["hits"]
    assert by_ranks == qianru("search", "发票", "--json").json()["hits"]
    assert by_ranks[0]["score"] == pytest.approx(sum(1 / (60 + rank) for rank in by_ranks[0]["ranks"].values()))
    doubled = qianru("search", "发票", "--weights", "sparse=2,dense=2", "--json").json()["hits"]
    assert doubled[0]["score"] == pytest.approx(2 * by_ranks[0]["score"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--fusion", "rff"], "Did you mean 'rrf'?"),
        (["--weights", "dens=1"], "Did you mean 'dense'?"),
        (["--weights", "dense"], "Write for example sparse=0.7"),
        (["--weights", "dense=-1"], "from 0 upwards"),
        (["--weights", "dense=nan"], "from 0 upwards"),
    ],
)
def test_a_fusion_that_cannot_be_is_one_line(options: list[str], says: str, hybrid: Path, qianru: Qianru) -> None:
    result = qianru("search", "发票", *options)
    assert (result.code, says in result.err, len(result.err.splitlines())) == (1, True, 1)


def test_hostile_text_cannot_drive_the_terminal(notes: Path, qianru: Qianru) -> None:
    (notes / "evil.txt").write_text("退款\x1b]0;owned\x07\x1b[2J 和 [red]标记[/red]\n", encoding="utf-8")
    qianru("index", "notes")
    out = qianru("search", "标记", "-k", "1").out
    assert "\x1b" not in out
    assert "[red]标记[/red]" in out


def test_ctrl_c_leaves_a_usable_collection_and_says_so(tmp_path: Path, qianru: Qianru) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    sentence = "第{}章讲的是检索、分词和向量，各种各样的词语都在这里。"
    for i in range(300):
        text = "\n".join(sentence.format(i * 100 + j) * 5 for j in range(100))
        (folder / f"{i}.txt").write_text(text, encoding="utf-8")
    library = tmp_path / "library"
    process = subprocess.Popen(
        [sys.executable, "-m", "qianru", "index", folder, "-c", library],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not stored(library) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "Stopped. What was stored" in err
    assert "Traceback" not in err
    n = qianru("count", "-c", library, "--json").json()["count"]
    assert n > 0
    assert qianru("search", "分词", "-c", library, "--json").json()["hits"]


def stored(library: Path) -> bool:
    """Whether the first documents are there to be read."""
    if not (library / "collection.sqlite").exists():
        return False
    with Collection.open(library, read_only=True) as reading:
        return reading.count() > 0
