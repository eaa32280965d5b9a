"""Similarities that carry gradients: of every query with every document, dense, sparse and multi."""

from __future__ import annotations

import torch
from torch import Tensor

from qianru.train.vectors import Part, Vectors


def sparse_similarities(queries: Vectors, documents: Vectors) -> Tensor:
    """(b, c) sums over shared terms of the products of their weights."""
    terms = torch.unique(torch.cat([_terms(part, queries.width) for part in (*queries.parts, *documents.parts)]))
    return _term_table(queries, terms)[queries.places] @ _term_table(documents, terms)[documents.places].T


def multi_similarities(queries: Vectors, documents: Vectors) -> Tensor:
    """(b, c) means over the query's tokens of the best similarity to a token of the document."""
    columns: list[Tensor] = []
    for document in documents.parts:
        rows = [_best(query, document) for query in queries.parts]       # (n queries, n documents) of the part each
        columns.append(torch.cat(rows))
    return torch.cat(columns, dim=1)[queries.places][:, documents.places]


def _best(query: Part, document: Part) -> Tensor:
    assert query.tokens is not None
    assert document.tokens is not None
    products = query.tokens @ document.tokens.T                          # (query tokens, document tokens)
    best: list[Tensor] = []
    for n, length, at in _token_groups(document):
        best.append(products[:, at : at + n * length].reshape(-1, n, length).amax(2))
    largest = torch.cat(best, dim=1)                                     # (query tokens, n documents)
    means = [largest[at : at + n * length].view(n, length, -1).mean(1) for n, length, at in _token_groups(query)]
    return torch.cat(means)


def _token_groups(part: Part) -> list[tuple[int, int, int]]:
    """(rows, tokens of each without the first, where they begin) of each group of rows of one length."""
    found, at = [], 0
    for group in part.batch.groups:
        found.append((group.n, group.length - 1, at))
        at += group.n * (group.length - 1)
    return found


def _terms(part: Part, width: int) -> Tensor:
    assert part.keys is not None
    return part.keys % width


def _term_table(vectors: Vectors, terms: Tensor) -> Tensor:
    """(n, number of terms) weights, rows in the order of the parts."""
    tables: list[Tensor] = []
    for part in vectors.parts:
        assert part.keys is not None
        assert part.weights is not None
        table = part.weights.new_zeros(len(part.batch), len(terms))
        columns = torch.searchsorted(terms, _terms(part, vectors.width))
        tables.append(table.index_put((part.keys // vectors.width, columns), part.weights))
    return torch.cat(tables)
