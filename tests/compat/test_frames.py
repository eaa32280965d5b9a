"""Tables in and out: what goes in comes back with vectors beside it, whatever the library."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from qianru.compat.frames import as_arrow, documents_of, embed_column, hits_table, texts_in, vectors_of
from qianru.errors import BadInput, ShapeMismatch, UnknownName
from qianru.index.collection import Collection
from qianru.models.bm25 import BM25
from qianru.models.vectors import WordVectors
from qianru.models.word_vector_model import WordVectorModel
from qianru.text.analyze import Analyzer
from qianru.types import Hit

ROWS = {"title": ["静夜思", "春晓", "登鹳雀楼"], "text": ["床前明月光", "春眠不觉晓", "白日依山尽"],
        "lines": [4, 4, None], "seen": [date(2026, 11, 21), None, None]}
MAKE: dict[str, Callable[[dict[str, Any]], Any]] = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "arrow": pa.table}
MODEL = WordVectorModel(
    WordVectors(sorted(set("".join(ROWS["text"]))), np.random.default_rng(2).standard_normal((15, 4))),
    Analyzer(unit="char"))


@pytest.fixture(params=list(MAKE))
def table(request: pytest.FixtureRequest) -> Any:
    """The three poems in each library."""
    return MAKE[request.param](ROWS)


def test_a_column_of_vectors_stands_beside_the_others(table: Any) -> None:
    grown = embed_column(table, "text", MODEL)
    assert type(grown) is type(table)
    names = grown.column_names if isinstance(grown, pa.Table) else list(grown.columns)
    assert names == [*ROWS, "embedding"]
    assert_allclose(vectors_of(grown), MODEL.encode(ROWS["text"]).dense)
    assert vectors_of(grown).dtype == np.float32
    assert texts_in(grown, "title") == ROWS["title"]


def test_a_second_time_replaces_the_column(table: Any) -> None:
    twice = embed_column(embed_column(table, "text", MODEL), "title", MODEL)
    assert_allclose(vectors_of(twice), MODEL.encode(ROWS["title"]).dense)


def test_vectors_have_a_fixed_size_in_every_library() -> None:
    kinds = {name: embed_column(make(ROWS), "text", MODEL) for name, make in MAKE.items()}
    expected = pa.list_(pa.float32(), 4)
    assert kinds["arrow"].schema.field("embedding").type == expected
    assert kinds["pandas"]["embedding"].dtype == pd.ArrowDtype(expected)
    assert kinds["polars"].schema["embedding"] == pl.Array(pl.Float32, 4)


def test_pandas_keeps_its_index_and_its_table(tmp_path: Path) -> None:
    table = pd.DataFrame({"text": ROWS["text"]}, index=["甲", "乙", "丙"])
    grown = embed_column(table, "text", MODEL)
    assert list(grown.index) == ["甲", "乙", "丙"]
    assert list(table.columns) == ["text"]


def test_parquet_keeps_the_vectors(table: Any, tmp_path: Path) -> None:
    grown, path = embed_column(table, "text", MODEL), tmp_path / "poems.parquet"
    if isinstance(grown, pd.DataFrame):
        grown.to_parquet(path)
    elif isinstance(grown, pl.DataFrame):
        grown.write_parquet(path)
    else:
        pq.write_table(grown, path)
    for read in (pq.read_table, pl.read_parquet):
        assert_array_equal(vectors_of(read(path)), vectors_of(grown))


def test_plain_lists_are_vectors_too_if_all_are_alike() -> None:
    table = pa.table({"embedding": [[1.0, 2.0], [3.0, 4.0]]})
    assert vectors_of(table.slice(1)).tolist() == [[3.0, 4.0]]
    with pytest.raises(ShapeMismatch, match=r"\[1, 2\] dimensions"):
        vectors_of(pa.table({"embedding": [[1.0, 2.0], [3.0]]}))
    with pytest.raises(ShapeMismatch, match="1 of 2 are missing"):
        vectors_of(pa.table({"embedding": pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2))}))
    with pytest.raises(BadInput, match="holds int64, no vectors"):
        vectors_of(pa.table({"embedding": [1, 2]}))


def test_rows_become_documents(table: Any) -> None:
    first, second, third = documents_of(table, id="title")
    assert (first.id, first.text) == ("静夜思", "床前明月光")
    assert first.fields == {"lines": 4, "seen": "2026-11-21"}
    assert (second.fields, third.fields) == ({"lines": 4}, {})


def test_the_same_row_is_the_same_document_again_and_another_row_another() -> None:
    rows = {"text": ["月", "月", "月"], "n": [1, 1, 2]}
    ids = [document.id for document in documents_of(pl.DataFrame(rows))]
    assert ids[0] == ids[1] != ids[2]


def test_hits_are_rows(table: Any, tmp_path: Path) -> None:
    with Collection.create(tmp_path / "poems", MODEL) as poems:
        poems.add(documents_of(table, id="title"))
        found = poems.search_many(["床前明月光", "白日依山尽"], k=2)
        told = hits_table(found, ["月", "日"], like=table)
    assert type(told) is type(table)
    arrow = as_arrow(told)
    assert arrow["query"].to_pylist() == ["月", "月", "日", "日"]
    assert arrow["rank"].to_pylist() == [1, 2, 1, 2]
    assert arrow["id"].to_pylist()[::2] == ["静夜思", "登鹳雀楼"]
    assert arrow["score"].to_pylist() == arrow["score.dense"].to_pylist()
    assert "lines" in arrow.column_names


def test_hits_of_one_query_and_none_at_all_are_tables() -> None:
    hit = Hit("a", "月", {"id": "甲", "n": 1}, 0.5)
    other = Hit("b", "日", {"n": "二"}, 0.25)
    told = hits_table([hit, other], library="arrow").to_pylist()
    assert told[0] == {"query": 0, "rank": 1, "id": "a", "score": 0.5, "text": "月", "field.id": "甲", "n": "1"}
    assert told[1]["n"] == "二"
    assert hits_table([], library="polars").columns == ["query", "rank", "id", "score", "text"]
    with pytest.raises(ShapeMismatch, match="1 rankings need as many queries; there are 2"):
        hits_table([[hit]], ["x", "y"])


def test_what_cannot_be_is_told_with_its_row(table: Any) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'text'"):
        embed_column(table, "texts", MODEL)
    with pytest.raises(BadInput, match=r"Row 2 .* of column 'lines' is missing|Row 0 .* is (int|float), no text"):
        embed_column(table, "lines", MODEL)
    with pytest.raises(BadInput, match="a column holds dense ones"):
        embed_column(table, "text", BM25())
    with pytest.raises(BadInput, match=r"DataFrame or an Arrow Table is needed, not dict"):
        embed_column(ROWS, "text", MODEL)
    with pytest.raises(BadInput, match="lazy"):
        embed_column(pl.LazyFrame(ROWS), "text", MODEL)
    with pytest.raises(BadInput, match=r"Row 0 .* of column 'of'"):
        list(documents_of(pa.table({"text": ["月"], "of": [{"a": 1}]})))
    with pytest.raises(BadInput, match=r"Row 1 .* of column 'text' is missing"):
        texts_in(pl.DataFrame({"text": ["月", None]}), "text")
