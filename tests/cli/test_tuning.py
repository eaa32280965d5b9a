"""Plans on the command line: given, learnt, kept; and pictures of what they found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Qianru


@pytest.fixture
def queries(indexed: Path, qianru: Qianru) -> Path:
    ids = [json.loads(line)["id"] for line in qianru("list", "--json", "-n", "100").out.splitlines()]
    rows = [{"query": "退款", "relevant": ids}, {"query": "发票", "path": "notes/发票.txt"}] * 5
    file = indexed.parent / "queries.jsonl"
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return file


def test_a_plan_is_learnt_reported_and_kept(indexed: Path, queries: Path, qianru: Qianru) -> None:
    told = qianru("tune", ".qianru", queries, "--json").json()
    assert told["n_queries"] == 10
    assert told["plan"]["kinds"] == ["sparse"]
    assert set(told["gain"]) == {"value", "low", "high"}
    result = qianru("tune", ".qianru", queries, "--dry-run")
    assert result.code == 0
    assert "with 95 % confidence" in result.out
    assert "keeps its plan" in result.err


def test_wrong_queries_are_one_line(indexed: Path, queries: Path, qianru: Qianru) -> None:
    queries.write_text('{"query": 1}', encoding="utf-8")
    result = qianru("tune", ".qianru", queries)
    assert (result.code, "queries.jsonl:1" in result.err, len(result.err.splitlines())) == (1, True, 1)


def test_a_plan_may_be_named_or_written(indexed: Path, qianru: Qianru) -> None:
    for plan in ("rrf", '{"kinds": ["sparse"], "group_by": "path"}'):
        hits = qianru("search", "退款发票", "--plan", plan, "--json").json()["hits"]
        assert hits
    paths = [hit["fields"]["path"] for hit in hits]
    assert len(paths) == len(set(paths))
    assert hits == qianru("search", "退款发票", "--group-by", "path", "--kinds", "sparse", "--json").json()["hits"]
    limit = str(hits[0]["score"])
    assert len(qianru("search", "退款发票", "--min-score", limit, "--json").json()["hits"]) == 1
    wrong = qianru("search", "退款", "--plan", "rff")
    assert (wrong.code, "Did you mean 'rrf'" in wrong.err) == (1, True)
    assert "not multi" in qianru("search", "退款", "--kinds", "multi").err


def test_an_explanation_is_drawn(indexed: Path, qianru: Qianru) -> None:
    told = qianru("search", "发票", "--explain", "--plot", "why.html", "--json")
    assert told.json()["hits"][0]["snippet"] in told.json()["hits"][0]["text"]
    assert "Drawn to why.html" in told.err
    assert "<mark" in Path("why.html").read_text(encoding="utf-8")
    assert qianru("search", "发票", "--plot", "why.html").code == 2
    assert "ends in" in qianru("search", "发票", "--explain", "--plot", "why.gif").err
