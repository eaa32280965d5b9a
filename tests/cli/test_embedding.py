"""qianru embed."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from qianru.models.embedding_folder import read_manifest, read_shards
from qianru.types import FloatArray

from .conftest import Qianru


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model of word counts in the current directory."""
    from qianru.models.lexical import Counts

    monkeypatch.chdir(tmp_path)
    Counts().fit(["床前明月光，疑是地上霜", "我爱吃蔬菜"]).save(tmp_path / "counts")
    return "counts"


def ids(folder: str) -> list[str]:
    return [name for shard in read_shards(Path(folder)) for name in shard.ids]


def test_lines_and_rows_of_several_files_are_embedded_under_their_places(qianru: Qianru, model: str) -> None:
    Path("a.txt").write_text("床前明月光\n\n  疑是地上霜  \r\n", encoding="utf-8")
    Path("b.csv").write_text("id,text\nx7,我爱吃蔬菜\nx8,\n", encoding="utf-8")
    Path("c.jsonl").write_text('{"text": "明月"}\n{"text": "蔬菜"}\n', encoding="utf-8")
    code, out, err = qianru("embed", "a.txt", "b.csv", "c.jsonl", "-o", "v", "-m", model)
    assert (code, err) == (0, "")
    assert out == "6 texts embedded; v holds 1 file of vectors\n"
    assert ids("v") == ["a.txt:1", "a.txt:3", "b.csv:2", "b.csv:3", "c.jsonl:1", "c.jsonl:2"]


def test_columns_are_named_and_the_same_command_does_nothing_twice(qianru: Qianru, model: str) -> None:
    rows = [{"nr": f"n{i}", "title": "明月", "body": "蔬菜"} for i in range(5)]
    with gzip.open("big.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(json.dumps(row) for row in rows) + "\nnot json\n")
    line = ("embed", "big.jsonl.gz", "-o", "v", "-m", model, "--text-columns", "title, body", "--id", "nr",
            "--shard-texts", "2", "--role", "query", "--json")
    first = qianru(*line)
    assert first.json() | {"problems": []} == {
        "folder": "v", "n_texts": 5, "n_embedded_before": 0, "n_truncated": 0, "n_shards": 3, "problems": []}
    assert "big.jsonl.gz:6: It is no JSON" in first.err
    assert ids("v") == [f"n{i}" for i in range(5)]
    assert read_manifest(Path("v"))["role"] == "query"
    assert qianru(*line).json()["n_embedded_before"] == 5


def test_what_cannot_be_done_is_one_line_and_exit_code_1(qianru: Qianru, model: str) -> None:
    Path("a.txt").write_text("明月\n", encoding="utf-8")
    Path("a.pdf").write_bytes(b"%PDF")
    for arguments, message in (
        (("a.pdf",), "a.pdf has no lines or rows to take one by one."),
        (("b.txt",), "There is no file b.txt."),
        (("a.txt", "--kinds", "dense"), "counts makes sparse vectors, not dense."),
        (("a.txt", "--role", "documents"), "There is no role 'documents'. Did you mean 'document'?"),
        (("a.txt", "--id", "nr"), "a.txt has no columns; its lines are the texts."),
    ):
        code, out, err = qianru("embed", *arguments, "-o", "v", "-m", model)
        assert (code, out) == (1, "")
        assert err.startswith(f"error: {message}"), err
        assert err.count("\n") == 1
    assert qianru("embed", "a.txt", "-o", "v").code == 2


def test_inspect_tells_what_a_model_is_and_that_it_works(qianru: Qianru, model: str) -> None:
    code, out, err = qianru("inspect", model)
    assert (code, err) == (0, "")
    assert "Qianru's counts" in out
    assert "Self-check: passed" in out
    found = qianru("inspect", model, "--json").json()
    assert (found["kinds"], found["problem"], found["check"]["texts"]) == (["sparse"], None, 4)


def test_inspect_of_a_broken_folder_tells_what_it_can_and_fails(qianru: Qianru, model: str) -> None:
    folder = Path("broken")
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    code, out, err = qianru("inspect", folder)
    assert code == 1
    assert "Hugging Face" in out
    assert err.startswith("error: broken/config.json describes a model of the type 'gpt2'; supported are bert")
    found = qianru("inspect", folder, "--json")
    assert (found.code, found.json()["check"]) == (1, None)
    assert found.json()["problem"].startswith("broken/config.json")


@pytest.fixture
def transformer(model: str, data: Path) -> str:
    """A small BGE-M3 in the current directory."""
    pytest.importorskip("torch", reason="transformer models need torch: pip install 'qianru[torch]'")
    sys.path.insert(0, str(Path(__file__).parent.parent / "models"))
    from checkpoints import build

    build("bge-m3", Path("m3"), data)
    return "m3"


def dense(folder: str) -> FloatArray:
    (shard,) = read_shards(Path(folder))
    assert shard.embeddings.dense is not None
    return shard.embeddings.dense


def test_a_transformer_runs_as_it_is_told(qianru: Qianru, transformer: str) -> None:
    Path("a.txt").write_text("床前明月光，疑是地上霜。\n" + "举头望明月，低头思故乡。" * 9 + "\n", encoding="utf-8")
    line = ("embed", "a.txt", "-m", transformer)
    assert qianru(*line, "-o", "exact", "--precision", "float32", "--kinds", "dense").code == 0
    assert qianru(*line, "-o", "low", "--precision", "bfloat16", "--kinds", "dense").code == 0
    exact, low = dense("exact"), dense("low")
    assert 0 < np.abs(exact - low).max() < 0.05
    cut = qianru(*line, "-o", "cut", "--precision", "float32", "--kinds", "dense,tokens", "--max-tokens", "12",
                 "--truncate-dim", "8")
    assert cut.code == 0
    assert "were longer than 12 tokens and were cut" in cut.err
    (shard,) = read_shards(Path("cut"))
    assert shard.embeddings.kinds == ("dense", "tokens")
    assert shard.embeddings.tokens is not None
    assert np.diff(shard.embeddings.tokens.offsets)[1] == 12
    assert dense("cut").shape == (2, 8)
    assert read_manifest(Path("cut"))["dim"] == 8
    assert qianru(*line, "-o", "mcls", "--precision", "float32", "--kinds", "dense", "--cls-every", "4").code == 0
    assert np.abs(dense("mcls") - exact).max() > 1e-3


def test_wishes_that_nothing_can_follow_are_refused(qianru: Qianru, model: str) -> None:
    Path("a.txt").write_text("明月\n", encoding="utf-8")
    for options, message in (
        (("--precision", "float32"), "A Runtime says how to run a transformer"),
        (("--precision", "float33"), "There is no precision 'float33'. Did you mean 'float32'?"),
        (("--cls-every", "256"), "--cls-every is for transformers that pool [CLS]"),
    ):
        code, out, err = qianru("embed", "a.txt", "-o", "v", "-m", model, *options)
        assert (code, out) == (1, "")
        assert err.startswith(f"error: {message}"), err


def test_transformers_are_compared_by_any_metric_and_drawn(qianru: Qianru, transformer: str) -> None:
    pytest.importorskip("matplotlib", reason="drawing needs matplotlib: pip install 'qianru[plot]'")
    texts = ("床前明月光", "疑是地上霜", "What is BGE M3?")
    found = {}
    for metric in ("cosine", "dot", "euclidean"):
        told = qianru("similarity", *texts, "-m", transformer, "--metric", metric, "--json").json()
        found[metric] = np.array(told["scores"])
    assert np.allclose(found["cosine"], found["dot"], atol=1e-2)      # its vectors have length 1
    assert np.allclose(np.diag(found["cosine"]), 1)
    assert np.allclose(found["euclidean"], -np.sqrt(np.maximum(2 - 2 * found["cosine"], 0)), atol=1e-2)
    result = qianru("similarity", *texts, "-m", transformer, "--plot", "map.png")
    assert (result.code, Path("map.png").read_bytes()[:4]) == (0, b"\x89PNG")
    assert "cosine of m3 vectors" in result.err


def test_inspect_of_vectors_tells_whose_they_are_and_whether_they_are_whole(qianru: Qianru, model: str) -> None:
    Path("a.txt").write_text("床前明月光\n疑是地上霜\n我爱吃蔬菜\n", encoding="utf-8")
    qianru("embed", "a.txt", "-o", "v", "-m", model, "--shard-texts", "2")
    code, out, err = qianru("inspect", "v")
    assert (code, err) == (0, "")
    assert "Every file is what was written." in out
    found = qianru("inspect", "v", "--json").json()
    assert (found["model"], found["texts"], found["files"], found["problems"]) == ("counts", 3, 2, [])
    shard = Path("v") / "00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    code, _, err = qianru("inspect", "v")
    assert code == 1
    assert err == (f"error: {shard} is not the file that was written: its SHA-256 differs. Delete it and embed again: "
                   "only this shard is made anew.\n")
    assert qianru("inspect", "v", "--no-check").code == 0
    shard.unlink()
    qianru("embed", "a.txt", "-o", "v", "-m", model, "--shard-texts", "2")
    assert qianru("inspect", "v").code == 0
