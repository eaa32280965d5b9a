"""What a collection is, in figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qianru.index.generation import Coming, generation_of, place_of
from qianru.index.home import sizes_bytes
from qianru.index.keeping import named_models
from qianru.index.plan import Plan
from qianru.index.storage import Storage
from qianru.models.base import ModelSpec
from qianru.types import Kind


def facts(
    path: Path, storage: Storage, spec: ModelSpec, kinds: Sequence[Kind], plan: Plan, mean_length: float | None
) -> dict[str, Any]:
    """Model, counts, sizes in bytes. mean_length: of documents in words, for BM25.

    n_tokens is counted as the model does, before any cut; n_truncated counts texts that were longer than it reads,
    those that are gone among them.
    """

    def number(sql: str) -> int:
        return int(storage.query(sql)[0][0])

    coming = Coming.of(storage)
    place = place_of(path, generation_of(storage))
    return {
        "path": str(path),
        "created": storage.meta("created"),
        "model": spec.name,
        "named_models": named_models(place) or None,
        "kinds": list(kinds),
        "dim": spec.dim,
        "fingerprint": spec.fingerprint,
        "plan": plan.to_dict() or None,
        "n_documents": number("SELECT count(*) FROM documents"),
        "n_sources": number("SELECT count(*) FROM sources"),
        "n_terms": number("SELECT count(*) FROM terms WHERE frequency > 0"),
        "mean_length": mean_length,
        "n_chars": number("SELECT total(length(text)) FROM documents"),
        "n_tokens": number("SELECT total(n_tokens) FROM vectors"),
        "n_truncated": int(storage.meta("n_truncated", 0)),
        "size_bytes": sizes_bytes(path, place),
        "vector_bytes": {kind: size for kind, size in {
            "dense": number("SELECT total(length(dense)) FROM vectors"),
            "sparse": number("SELECT total(length(terms) + length(weights)) FROM vectors"),
            "multi": number("SELECT total(length(data)) FROM multi") if storage.has_multi else 0}.items() if size},
        **({} if coming is None else {"reembedding": {
            "model": coming.model, "n_embedded": number("SELECT count(*) FROM next_vectors")}}),
    }
