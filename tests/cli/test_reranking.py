"""qianru rerank, and rerankers where another command wants a model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="rerankers need torch: pip install 'qianru[torch]'")

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))

from reranker_checkpoints import tiny_reranker

from qianru.models.cross_encoder import CrossEncoder
from qianru.runtime.options import Runtime

from .conftest import Qianru

LINES = ["床前明月光", "疑是地上霜", "举头望明月", "低头思故乡"]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A reranker and a file of lines in the current directory."""
    monkeypatch.chdir(tmp_path)
    tiny_reranker(tmp_path / "tiny")
    (tmp_path / "诗.txt").write_text("\n".join(LINES), encoding="utf-8")
    return "tiny"


def test_texts_and_lines_come_best_first(qianru: Qianru, model: str) -> None:
    found = qianru("rerank", "明月", "诗.txt", "我爱吃蔬菜", "-m", model, "--json").json()
    scores = CrossEncoder.load(Path(model)).score([("明月", text) for text in [*LINES, "我爱吃蔬菜"]]).tolist()
    assert [entry["score"] for entry in found["results"]] == pytest.approx(sorted(scores, reverse=True), abs=1e-5)
    best = found["results"][0]
    assert best["text"] == [*LINES, "我爱吃蔬菜"][best["row"] - 1]
    assert 0 < found["results"][-1]["probability"] <= best["probability"] < 1
    code, out, err = qianru("rerank", "明月", "诗.txt", "-m", model, "-k", "2")
    assert (code, err) == (0, "4 texts by tiny\n")
    assert [line.split()[0] for line in out.splitlines()] == ["1", "2"]


def test_precision_and_the_most_tokens_are_as_asked(qianru: Qianru, model: str) -> None:
    asked = ("rerank", "明月", "诗.txt", "-m", model, "--json")
    exact = qianru(*asked, "--precision", "float32", "--max-tokens", "6").json()
    reranker = CrossEncoder.load(Path(model), Runtime("float32", max_tokens=6))
    scores = reranker.score([("明月", text) for text in LINES]).tolist()
    assert [entry["score"] for entry in exact["results"]] == pytest.approx(sorted(scores, reverse=True), abs=1e-5)
    assert qianru(*asked).json() != exact
    code, _, err = qianru(*asked, "--precision", "int7")
    assert code == 1
    assert "int7" in err


def test_a_model_of_vectors_is_no_reranker_and_a_reranker_makes_none(qianru: Qianru, model: str) -> None:
    from qianru.models.lexical import Counts

    Counts().fit(LINES).save(Path("counts"))
    code, _, err = qianru("rerank", "明月", "诗.txt", "-m", "counts")
    assert code == 1
    assert err.startswith("error: counts makes sparse vectors; it is no reranker.")
    for command in (("similarity", "明月", "故乡"), ("embed", "诗.txt", "-o", "v")):
        code, _, err = qianru(*command, "-m", model)
        assert code == 1
        assert "tiny is a reranker: it scores pairs of query and document and makes no vectors." in err


def test_inspect_tells_that_it_is_a_reranker_and_that_it_works(qianru: Qianru, model: str) -> None:
    code, out, err = qianru("inspect", model)
    assert (code, err) == (0, "")
    assert "classifier of pairs" in out
    assert "Self-check: passed" in out


def test_the_catalogue_lists_rerankers_as_models_of_scores(qianru: Qianru) -> None:
    [line] = [line for line in qianru("models").out.splitlines() if line.startswith("bge-reranker-v2-m3")]
    assert line.split()[1:4] == ["score", "8192", "568M"]
