"""Vectors as bytes and back: what a row of the database holds, each with its checksum."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from zlib import crc32

import numpy as np

from qianru.index.layout import MultiPrecision
from qianru.types import Embeddings, FloatArray, Ragged, SparseRows

Blob = bytes | None
INT8 = 127


def checksum(*blobs: Blob) -> int:
    """CRC-32 over the blobs."""
    value = 0
    for blob in blobs:
        value = crc32(blob or b"", value)
    return value


def flat_blobs(embeddings: Embeddings) -> list[tuple[Blob, Blob, Blob]]:
    """(dense as float32, terms as uint32, weights as float32) of each text; None for a kind that is not there."""
    dense, sparse = embeddings.dense, embeddings.sparse
    denses: Sequence[Blob] = [None] * len(embeddings)
    terms, weights = denses, denses
    if dense is not None:
        denses = [row.tobytes() for row in np.ascontiguousarray(dense, "<f4")]
    if sparse is not None:
        spans = list(pairwise((sparse.offsets * 4).tolist()))
        term_bytes, weight_bytes = sparse.terms.astype("<u4").tobytes(), sparse.weights.astype("<f4").tobytes()
        terms = [term_bytes[start:end] for start, end in spans]
        weights = [weight_bytes[start:end] for start, end in spans]
    return list(zip(denses, terms, weights, strict=True))


def from_flat_blobs(n_tokens: Iterable[int], blobs: Sequence[tuple[Blob, Blob, Blob]]) -> Embeddings:
    """The texts whose blobs these are; all of them have the same kinds."""
    dense = sparse = None
    if blobs and blobs[0][0] is not None:
        dense = np.frombuffer(b"".join(row[0] or b"" for row in blobs), "<f4").reshape(len(blobs), -1)
    if blobs and blobs[0][1] is not None:
        offsets = np.zeros(len(blobs) + 1, np.int64)
        np.cumsum([len(row[1] or b"") // 4 for row in blobs], out=offsets[1:])
        terms = np.frombuffer(b"".join(row[1] or b"" for row in blobs), "<u4").astype(np.int64)
        weights = np.frombuffer(b"".join(row[2] or b"" for row in blobs), "<f4")
        sparse = SparseRows(offsets, terms, weights, int(terms.max()) + 1 if len(terms) else 0)
    return Embeddings("stored", np.fromiter(n_tokens, np.int64), dense=dense, sparse=sparse)


def multi_blobs(multi: Ragged, precision: MultiPrecision) -> list[bytes]:
    """Each text's token vectors as float16, or as int8 after a float32 scale for each token."""
    blobs = []
    for i in range(len(multi)):
        row = np.asarray(multi.row(i), np.float32)
        if precision == "float16":
            blobs.append(row.astype("<f2").tobytes())
            continue
        scales = np.abs(row).max(axis=1, initial=0) / INT8
        whole = np.rint(np.divide(row, scales[:, None], out=np.zeros_like(row), where=scales[:, None] > 0))
        blobs.append(scales.astype("<f4").tobytes() + whole.astype(np.int8).tobytes())
    return blobs


def from_multi_blobs(n_rows: Sequence[int], blobs: Sequence[bytes], precision: MultiPrecision) -> Ragged:
    """The texts' token vectors as float32; n_rows: how many each has."""
    parts: list[FloatArray] = []
    for n, blob in zip(n_rows, blobs, strict=True):
        if not n:
            continue
        if precision == "float16":
            parts.append(np.frombuffer(blob, "<f2").reshape(n, -1).astype(np.float32))
        else:
            scales = np.frombuffer(blob, "<f4", n)
            parts.append(np.frombuffer(blob, np.int8, offset=4 * n).reshape(n, -1) * scales[:, None])
    offsets = np.concatenate([[0], np.cumsum(np.asarray(n_rows, np.int64))]).astype(np.int64)
    return Ragged(np.concatenate(parts) if parts else np.zeros((0, 0), np.float32), offsets)
