"""Exact search through a corpus that streams by: encode a block, score it, keep the best k of each query, drop it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadFile, BadInput
from qianru.evaluate.encode import Encoder
from qianru.scores import kind_scores, weighted_mean
from qianru.scores.best import Best
from qianru.scores.exact import Precision, dense_top_k, maxsim_top_k, sparse_top_k
from qianru.scores.ranking import Ranked
from qianru.types import Embeddings, FloatArray, IntArray, Kind, SparseRows

Corpus = Callable[[], Iterator[tuple[str, str]]]
USUAL_WEIGHTS: Mapping[Kind, float] = {"dense": 0.4, "sparse": 0.2, "multi": 0.4}
"""Of the kinds of a model that makes several. Source: Chen et al. 2024 (BGE-M3), section 4."""
BYTES_A_PLACE = 64        # of an answer while it is found: id and score, those merged with them, Python's own
WEIGHT_BYTES = 40         # of a weight of a sparse vector while its block is turned into postings


@dataclass(frozen=True, slots=True)
class Ids:
    """Every document of a corpus, as a number: 0 for the id that is last in order.

    So the lower of two numbers is the higher id, and rankings whose equal scores go by the lower number are those of
    trec_eval, whose equal scores go by the higher id.
    """

    ordered: NDArray[np.bytes_]        # the ids as UTF-8, ascending

    @classmethod
    def of(cls, corpus: Corpus) -> Ids:
        """The ids of the corpus; BadFile if there are none or one stands for two documents."""
        blocks: list[NDArray[np.bytes_]] = []
        names: list[bytes] = []
        for name, _ in corpus():
            names.append(name.encode())
            if len(names) == 65_536:
                blocks.append(np.array(names))
                names = []
        blocks += [np.array(names)] if names else []
        if not blocks:
            raise BadFile("The corpus has no documents.")
        ordered = np.sort(np.concatenate(blocks))
        twice = np.flatnonzero(ordered[1:] == ordered[:-1])
        if len(twice):
            raise BadFile(f"The corpus has two documents called {ordered[twice[0]].decode()}.")
        return cls(ordered)

    def __len__(self) -> int:
        return len(self.ordered)

    def numbers(self, names: Sequence[str]) -> IntArray:
        """(n,) the number of each id; -1 for one that the corpus lacks."""
        if not len(names):
            return np.empty(0, np.int64)
        wanted = np.array([name.encode() for name in names])
        at = np.minimum(np.searchsorted(self.ordered, wanted), len(self) - 1)
        return np.where(self.ordered[at] == wanted, len(self) - 1 - at, -1)

    def name(self, number: int) -> str:
        """The id of a number."""
        return bytes(self.ordered[len(self) - 1 - number]).decode()


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """How to search.

    k: answers for each query;  weights: of the kinds of a model that makes several, None for the usual ones
    memory_bytes: that the search may take, the model and the process before it aside
    """

    k: int = 1000
    weights: Mapping[Kind, float] | None = None
    memory_bytes: int = 2 << 30


def search(encoder: Encoder, queries: Embeddings, corpus: Corpus, ids: Ids, plan: SearchPlan) -> Iterator[Ranked]:
    """For each query (numbers of documents, scores), best first, in the order of the queries.

    Dense vectors are compared by their cosine, sparse ones by their dot product, multiple ones by MaxSim; a model of
    several kinds by the weighted mean of these, over all documents.
    Queries whose answers do not fit the memory are searched group by group, with a pass through the corpus for each;
    a cache of vectors then saves embedding it again.
    """
    k = min(plan.k, len(ids))
    at_once = queries_at_once(k, plan.memory_bytes)
    for first in range(0, len(queries), at_once):
        group = _rows(queries, first, first + at_once)
        yield from _search(encoder, group, _numbered(encoder, corpus, ids), k, plan)


def queries_at_once(k: int, memory_bytes: int) -> int:
    """How many queries are searched in one pass through the corpus."""
    return max(4, int(memory_bytes * 0.4) // (max(k, 1) * BYTES_A_PLACE))


def n_passes(n_queries: int, memory_bytes: int, k: int = 1000) -> int:
    """How often the corpus is gone through."""
    return -(-n_queries // queries_at_once(k, memory_bytes))


def _search(
    encoder: Encoder, queries: Embeddings, blocks: Iterator[tuple[IntArray, Embeddings]], k: int, plan: SearchPlan
) -> list[Ranked]:
    if len(encoder.kinds) > 1:
        return _hybrid(queries, blocks, k, weights_for(encoder.kinds, plan.weights), plan.memory_bytes)
    if encoder.kinds == ("dense",):
        assert queries.dense is not None
        return dense_top_k(unit(queries.dense), ((ids, unit(made.dense)) for ids, made in blocks
                                                 if made.dense is not None), k, precision=_precision())
    if encoder.kinds == ("sparse",):
        assert queries.sparse is not None
        return sparse_top_k(queries.sparse, _large(blocks, plan.memory_bytes // 4), k)
    assert queries.multi is not None
    return maxsim_top_k(queries.multi, ((ids, made.multi) for ids, made in blocks if made.multi is not None), k)


def _precision() -> Precision:
    """Of the products that find candidates: in bfloat16 twice as fast, and the answer is the same.

    Only where torch is there already, for the model, as loading it takes longer than most searches.
    """
    if "torch" not in sys.modules:
        return "float32"
    from qianru.runtime.options import multiplies_bfloat16

    return "bfloat16" if multiplies_bfloat16("cpu") else "float32"


def weights_for(kinds: Sequence[Kind], given: Mapping[Kind, float] | None) -> dict[Kind, float]:
    """The weight of each kind that is there, else the usual; BadInput for one of a kind that is not there."""
    strange = [kind for kind in given or {} if kind not in kinds]
    if strange:
        raise BadInput(f"There is a weight for {strange[0]} vectors, and the model makes {' and '.join(kinds)}.")
    return {kind: (USUAL_WEIGHTS if given is None else given).get(kind, 0.0) for kind in kinds}


def unit(vectors: FloatArray) -> FloatArray:
    """The rows at length 1, in float32; a row of zeros stays one."""
    narrow = np.asarray(vectors, np.float32)
    lengths = np.sqrt(np.einsum("nd,nd->n", narrow, narrow, dtype=np.float64))[:, None]
    long: FloatArray = np.divide(narrow, lengths, out=np.zeros_like(narrow), where=lengths > 0, casting="unsafe")
    return long


def unit_dense(embeddings: Embeddings) -> Embeddings:
    """The same with dense vectors of length 1, so that their dot product is the cosine."""
    if embeddings.dense is None:
        return embeddings
    return Embeddings(embeddings.model, embeddings.n_tokens, embeddings.n_truncated, unit(embeddings.dense),
                      embeddings.sparse, embeddings.multi)


def _numbered(encoder: Encoder, corpus: Corpus, ids: Ids) -> Iterator[tuple[IntArray, Embeddings]]:
    for names, made in encoder.blocks(corpus(), "document", total=len(ids)):
        yield ids.numbers(names), made


def _large(
    blocks: Iterable[tuple[IntArray, Embeddings]], most_bytes: int
) -> Iterator[tuple[IntArray, SparseRows]]:
    """Sparse blocks put together, since postings are worth the more the more documents they hold."""
    ids: list[IntArray] = []
    rows: list[SparseRows] = []
    size = 0
    for numbers, made in blocks:
        assert made.sparse is not None
        more = WEIGHT_BYTES * len(made.sparse.weights)
        if rows and size + more > most_bytes:
            yield np.concatenate(ids), SparseRows.concat(rows)
            ids, rows, size = [], [], 0
        ids.append(numbers)
        rows.append(made.sparse)
        size += more
    if rows:
        yield np.concatenate(ids), SparseRows.concat(rows)


def _hybrid(
    queries: Embeddings, blocks: Iterator[tuple[IntArray, Embeddings]], k: int, weights: Mapping[Kind, float],
    memory_bytes: int,
) -> list[Ranked]:
    """Each block's full scores of every kind, weighed: no document is lost because one kind alone ranks it low."""
    queries = unit_dense(queries)
    step = 256
    groups = [(first, _rows(queries, first, first + step)) for first in range(0, len(queries), step)]
    bests = [Best(len(group), k) for _, group in groups]
    rows = max(64, memory_bytes // 8 // (step * 8 * 4))      # each score is held about four times
    for numbers, made in blocks:
        for start in range(0, len(made), rows):
            part = unit_dense(_rows(made, start, start + rows))
            for (_, group), best in zip(groups, bests, strict=True):
                best.offer(weighted_mean(kind_scores(group, part), weights), numbers[start : start + rows])
    return [ranked for best in bests for ranked in best.rankings()]


def _rows(embeddings: Embeddings, start: int, end: int) -> Embeddings:

    return embeddings.take(np.arange(start, min(end, len(embeddings))))
