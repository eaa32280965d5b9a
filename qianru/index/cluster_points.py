"""How a server keeps a collection, and vectors in its form and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qianru.errors import BadInput
from qianru.index.layout import DensePrecision
from qianru.index.rows import Rows
from qianru.types import FloatArray, Kind, Ragged, SparseRows

if TYPE_CHECKING:
    from qdrant_client.http.models import PointStruct

POINTS_AT_ONCE = 500
REQUEST_NUMBERS = 400_000   # of one upload: about 5 MB of JSON, where a server takes 32


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """How a server keeps a collection, decided when it is made, and how it is asked.

    shards: None for the server's own choice;  replicas: of each shard; most of them must confirm a write and agree
    on_disk: the float32 vectors are read from the disk, for where searches look through int8 or binary ones above all
    graph_links, graph_effort: of the graph of dense vectors (HNSW's m and ef);  parallel: uploads at a time
    fresh_s: how old the counts that BM25 weighs by may be, where others write too
    """

    shards: int | None = None
    replicas: int = 1
    on_disk: bool = False
    graph_links: int = 16
    graph_effort: int = 128
    parallel: int = 4
    fresh_s: float = 1.0

    def __post_init__(self) -> None:
        numbers = (self.shards or 1, self.replicas, self.graph_links, self.graph_effort, self.parallel)
        if min(numbers) < 1 or self.fresh_s < 0:
            raise BadInput(f"Shards, replicas, links, effort and parallel uploads are at least 1; got {self}.")


def quantizer(precision: DensePrecision) -> Any:
    """What the server is told to quantize dense vectors by. Raises BadInput for what would lose the float32 vectors."""
    from qdrant_client.http import models

    if precision == "float16":
        raise BadInput("A server would keep float16 vectors in place of the float32 ones, so scores would differ. "
                       "Ask for float32, int8 or binary; for little memory also for ClusterOptions(on_disk=True).")
    if precision == "int8":
        return models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(
            type=models.ScalarType.INT8, quantile=0.99, always_ram=True))
    if precision == "binary":
        return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    return None


def points_of(rows: Rows, multi: Ragged | None, payloads: list[dict[str, Any]]) -> Iterator[list[PointStruct]]:
    """The rows in the server's form, in parts for one request each."""
    from qdrant_client.http import models

    part: list[PointStruct] = []
    n_numbers = 0
    sparse = rows.sparse
    for i, id in enumerate(rows.ids.tolist()):
        vector: dict[str, Any] = {}
        if rows.dense is not None:
            vector["dense"] = rows.dense[i].tolist()
            n_numbers += len(vector["dense"])
        if sparse is not None:
            terms, weights = sparse.row(i)
            vector["sparse"] = models.SparseVector(indices=terms.tolist(), values=weights.tolist())
            n_numbers += 3 * len(terms)
        if multi is not None and len(multi.row(i)):
            vector["multi"] = multi.row(i).tolist()
            n_numbers += multi.row(i).size
        n_numbers += sum(len(value) for value in payloads[i].values() if isinstance(value, (list, str)))
        part.append(models.PointStruct(id=id, vector=vector, payload=payloads[i]))
        if n_numbers >= REQUEST_NUMBERS or len(part) == POINTS_AT_ONCE:
            yield part
            part, n_numbers = [], 0
    if part:
        yield part


def stored_rows(vectors: Sequence[Any], dim: int, kinds: Sequence[Kind]) -> tuple[FloatArray | None, SparseRows | None]:
    """(dense (n, dim), sparse) of what the server has under the names of vectors."""
    dense = sparse = None
    if "dense" in kinds:
        dense = np.array([vector["dense"] for vector in vectors], np.float32).reshape(-1, dim)
    if "sparse" in kinds:
        rows = [dict(zip(vector["sparse"].indices, vector["sparse"].values, strict=True)) if vector.get("sparse")
                else {} for vector in vectors]
        sparse = SparseRows.from_rows(rows, 1 + max((max(row) for row in rows if row), default=-1))
    return dense, sparse
