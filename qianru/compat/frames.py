"""Tables of pandas, polars and Arrow: a column of texts becomes a column of vectors, rows documents, hits a table.

    from qianru.compat.frames import documents_of, embed_column, hits_table, vectors_of

    table = embed_column(table, "desc", qianru.load("m3e-base"))     # a column "embedding" beside the others
    vectors_of(table)                                                # (n, d) float32
    collection.add(documents_of(table, text="desc", id="name"))
    hits_table(collection.search_many(queries), like=table)

A table comes back as the library that it came from. Vectors are Arrow's fixed-size lists of float32, which polars calls
Array; all three write them to Parquet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import numpy as np

from qianru.errors import BadInput, ShapeMismatch, UnknownName, require
from qianru.index.intake import document_digest, fields_json
from qianru.models.base import Model
from qianru.types import Document, FloatArray, Hit, Progress, Role, Value

Library: TypeAlias = Literal["arrow", "pandas", "polars"]
Table: TypeAlias = Any
"""A pandas or polars DataFrame or an Arrow Table."""


def embed_column(
    table: Table, text: str, model: Model, into: str = "embedding", *, role: Role = "document",
    instruction: str | None = None, progress: Progress | None = None,
) -> Table:
    """The table with a column of vectors, row i of the text in row i; a column of that name is replaced.

    Raises BadInput for a missing text or a model without dense vectors, UnknownName for a column that there is not.
    """
    arrow = as_arrow(table)
    if "dense" not in model.spec.kinds:
        raise BadInput(f"{model.spec.name} makes {' and '.join(model.spec.kinds)} vectors; a column holds dense ones.")
    made = model.encode(texts_in(table, text), role=role, kinds=["dense"], instruction=instruction, progress=progress)
    assert made.dense is not None
    column = vector_array(made.dense)
    place = arrow.column_names.index(into) if into in arrow.column_names else -1
    grown = arrow.append_column(into, column) if place < 0 else arrow.set_column(place, into, column)
    if library_of(table) == "pandas":
        grown_frame = table.copy()      # its index and the types of its other columns stay
        grown_frame[into] = _pandas_series(column, table.index)
        return grown_frame
    return from_arrow(grown, library_of(table))


def vectors_of(table: Table, column: str = "embedding") -> FloatArray:
    """(n, d) float32 vectors of a column of lists. Raises ShapeMismatch where lengths differ or one is missing."""
    pa = _pyarrow()
    found = _column(as_arrow(table), column)
    chunk = found.combine_chunks()
    if not (pa.types.is_list(chunk.type) or pa.types.is_large_list(chunk.type)
            or pa.types.is_fixed_size_list(chunk.type)):
        raise BadInput(f"Column {column!r} holds {chunk.type}, no vectors.")
    flat = chunk.flatten()              # passes over missing lists, so that they show in the count
    lengths = {chunk.type.list_size} if pa.types.is_fixed_size_list(chunk.type) else set(
        np.diff(chunk.offsets.to_numpy()).tolist())
    if chunk.null_count or flat.null_count or len(lengths) > 1:
        raise ShapeMismatch(f"Column {column!r} holds vectors of {sorted(lengths)} dimensions, {chunk.null_count} of "
                            f"{len(chunk)} are missing, and {flat.null_count} numbers in them.")
    vectors: FloatArray = flat.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return vectors.reshape(len(chunk), -1)


def documents_of(
    table: Table, text: str = "text", id: str | None = None, fields: Sequence[str] | None = None
) -> Iterator[Document]:
    """The rows as documents for Collection.add.

    id: a column of unique names; by default a digest of the row, so that the same row is the same document again
    fields: columns to keep as fields, by default all others; a missing value is left out, a date becomes ISO text
    """
    arrow = as_arrow(table)
    taken = {text, *([id] if id else [])}
    chosen = list(fields) if fields is not None else [name for name in arrow.column_names if name not in taken]
    texts = texts_in(table, text)
    ids = None if id is None else [str(value) for value in _column(arrow, id).to_pylist()]
    columns = {name: _column(arrow, name).to_pylist() for name in chosen}
    for row, said in enumerate(texts):
        told = {name: _value(values[row], name, row) for name, values in columns.items() if _is_there(values[row])}
        document = Document(f"row {row}" if ids is None else ids[row], said, told)
        yield document if ids is not None else replace(
            document, id=document_digest(said, fields_json(document)).hex())


def hits_table(
    found: Sequence[Hit] | Sequence[Sequence[Hit]], queries: Sequence[str] | None = None, *, like: Table = None,
    library: Library = "pandas",
) -> Table:
    """A row for each hit: query, rank from 1, id, score, text, each kind's score as score.KIND, each field.

    A field that is called like a column before it is "field.NAME"; one that holds several types is told as texts.
    found: what search or search_many returned;  queries: shown in the first column, else the queries' numbers
    like: a table of the library that is wanted, in place of its name
    """
    one = bool(found) and isinstance(found[0], Hit)
    lists: list[Any] = [found] if one else list(found)
    if queries is not None and len(queries) != len(lists):
        raise ShapeMismatch(f"{len(lists)} rankings need as many queries; there are {len(queries)}.")
    rows = [(number, rank, hit) for number, hits in enumerate(lists) for rank, hit in enumerate(hits, 1)]
    names = list(dict.fromkeys(name for _, _, hit in rows for name in hit.fields))
    kinds = list(dict.fromkeys(kind for _, _, hit in rows for kind in hit.scores))
    columns: dict[str, list[Any]] = {
        "query": [number if queries is None else queries[number] for number, _, _ in rows],
        "rank": [rank for _, rank, _ in rows], "id": [hit.id for *_, hit in rows],
        "score": [hit.score for *_, hit in rows], "text": [hit.text for *_, hit in rows],
    }
    for kind in kinds:
        columns[f"score.{kind}"] = [hit.scores.get(kind) for *_, hit in rows]
    for name in names:
        columns[f"field.{name}" if name in columns else name] = _alike([hit.fields.get(name) for *_, hit in rows])
    pa = _pyarrow()
    types = {"query": pa.int64() if queries is None else pa.string(), "rank": pa.int64(), "id": pa.string(),
             "score": pa.float64(), "text": pa.string()}
    table = pa.table({name: pa.array(values, types.get(name)) for name, values in columns.items()})
    return from_arrow(table, library if like is None else library_of(like))


def texts_in(table: Table, column: str) -> list[str]:
    """The column's texts. Raises BadInput, naming the row, where one is missing or no text."""
    texts = _column(as_arrow(table), column).to_pylist()
    for row, said in enumerate(texts):
        if not isinstance(said, str):
            what = "is missing" if not _is_there(said) else f"is {type(said).__name__}, no text: {said!r:.60}"
            raise BadInput(f"Row {row} (counting from 0) of column {column!r} {what}. Fill it or leave the row out.")
    return texts    # type: ignore[no-any-return]


def vector_array(dense: FloatArray) -> Any:
    """Arrow's fixed-size lists of float32 over (n, d) vectors; float32 ones are not copied."""
    pa = _pyarrow()
    flat = np.ascontiguousarray(dense, np.float32).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), dense.shape[1])


def library_of(table: Table) -> Library:
    """Which library's table it is. Raises BadInput for anything else."""
    home = type(table).__module__.split(".")[0]
    known: dict[str, Library] = {"pandas": "pandas", "polars": "polars", "pyarrow": "arrow"}
    if type(table).__name__ == "LazyFrame":
        raise BadInput("This polars table is lazy. Call collect() first.")
    if home not in known or not hasattr(table, "columns"):
        raise BadInput(f"A pandas or polars DataFrame or an Arrow Table is needed, not {type(table).__name__}.")
    return known[home]


def as_arrow(table: Table) -> Any:
    """The table as Arrow's."""
    library, pa = library_of(table), _pyarrow()
    if library == "polars":
        return table.to_arrow()
    return pa.Table.from_pandas(table, preserve_index=False) if library == "pandas" else table


def from_arrow(table: Any, library: Library) -> Table:
    """The Arrow table as that library's; pandas keeps Arrow's type for columns of vectors."""
    if library == "arrow":
        return table
    if library == "polars":
        return require("polars", "frames", "A polars table").from_arrow(table)
    pandas, pa = require("pandas", "frames", "A pandas table"), _pyarrow()
    return table.to_pandas(types_mapper=lambda kind: pandas.ArrowDtype(kind)
                           if pa.types.is_fixed_size_list(kind) else None)


def _pandas_series(column: Any, index: Any) -> Any:
    pandas = require("pandas", "frames", "A pandas table")
    return pandas.Series(pandas.arrays.ArrowExtensionArray(column), index=index)


def _pyarrow() -> Any:
    return require("pyarrow", "frames", "A table of vectors")


def _column(arrow: Any, name: str) -> Any:
    if name not in arrow.column_names:
        raise UnknownName("column", name, arrow.column_names)
    return arrow.column(name)


def _is_there(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _value(value: Any, name: str, row: int) -> Value:
    """What a field can hold of a cell."""
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list) and all(isinstance(part, str | int | float | bool) for part in value):
        return value
    raise BadInput(f"Row {row} (counting from 0) of column {name!r} holds {value!r:.60}, and a field holds text, "
                   "numbers, true or false, dates or lists of these. Leave the column out: fields=[…].")


def _alike(values: Iterable[Any]) -> list[Any]:
    """The values as they are where Arrow has one type for them, else as texts."""
    listed = list(values)
    types = {type(value) for value in listed if value is not None}
    return listed if len(types) <= 1 or types == {int, float} else [None if v is None else str(v) for v in listed]

