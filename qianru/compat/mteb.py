"""mteb's protocols: mteb.evaluate(bridge("m3e-base"), tasks) runs any model of Qianru on any task of mteb 2.

    import mteb
    from qianru.compat.mteb import bridge

    mteb.evaluate(bridge("models/m3e-base"), mteb.get_tasks(["LCQMC", "T2Retrieval"]))

A model with dense vectors is an encoder and a searcher, one with sparse or token vectors a searcher (for retrieval and
reranking), a cross-encoder a cross-encoder. Corpora are searched exactly, block by block, whatever the kind.
What differs from mteb's own wrappers: a model's prompts are those of its folder or of the catalogue, not mteb's table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from qianru import scores
from qianru.compat.loading import has_learnt_nothing
from qianru.errors import BadInput, MissingExtra
from qianru.evaluate.encode import Encoder, follows_instructions
from qianru.models import load
from qianru.models.base import Model, ModelSpec, Reranker
from qianru.scores.exact import dense_top_k, maxsim_candidates, maxsim_top_k, sparse_top_k
from qianru.scores.similarity import sparse_dot
from qianru.types import Embeddings, FloatArray, IntArray, Kind, Role

SCORED_BY: Mapping[Kind, str] = {"dense": "cosine", "sparse": "dot", "multi": "MaxSim"}


def bridge(model: Model | Reranker | str | Path, kind: Kind | None = None) -> Any:
    """The model as mteb takes it: with encode and search, search alone, or predict.

    model: one that is loaded, or what qianru.load takes;  kind: of vectors, for a model that makes several
    A model that learns from its corpus (BM25) and has learnt nothing yet learns from the corpus of each task.
    Raises MissingExtra without mteb, BadInput for a kind that the model does not make.
    """
    _mteb("mteb")                     # its absence is told before anything is loaded
    loaded = load(model) if isinstance(model, str | Path) else model
    if isinstance(loaded, Reranker):
        if kind is not None:
            raise BadInput(f"{loaded.spec.name} is a reranker and makes no {kind} vectors. Leave the kind out.")
        return PairBridge(loaded)
    known = [known for known in SCORED_BY if known in loaded.spec.kinds]
    if kind is None:
        kind = known[0]
    if kind not in known:
        raise BadInput(f"{loaded.spec.name} makes {' and '.join(known)} vectors, not {kind}.")
    return DenseBridge(loaded, kind) if kind == "dense" else SearchBridge(loaded, kind)


class SearchBridge:
    """mteb's SearchProtocol over one kind of vectors."""

    def __init__(self, model: Model, kind: Kind) -> None:
        self.model, self.kind = model, kind
        self.mteb_model_meta = _meta(model.spec, kind)
        self._corpus: Any = None
        self._learns_here = has_learnt_nothing(model)

    def index(
        self, corpus: Any, *, task_metadata: Any, hf_split: str, hf_subset: str, encode_kwargs: Any,
        num_proc: int | None = None, **kwargs: Any,
    ) -> None:
        """Remembers the corpus, which search reads; a model that learns from it does so now."""
        self._corpus = corpus
        if self._learns_here:
            self.model.fit(text for _, text in _documents(corpus, task_metadata))     # type: ignore[attr-defined]

    def search(
        self, queries: Any, *, task_metadata: Any, hf_split: str, hf_subset: str, top_k: int, encode_kwargs: Any,
        top_ranked: Mapping[str, Sequence[str]] | None = None, num_proc: int | None = None, **kwargs: Any,
    ) -> dict[str, dict[str, float]]:
        """query -> document -> score, of the top_k best documents, or of the candidates where there are some."""
        if self._corpus is None:
            raise BadInput("There is no corpus to search. Call index first.")
        encoder = self._encoder(task_metadata, "query")
        names = [str(name) for name in queries["id"]]
        asked = encoder.encode(list(_texts(_batches(queries, task_metadata, "query"))), "query", [self.kind])
        documents = _documents(self._corpus, task_metadata)
        if top_ranked is not None:
            return self._ranked(encoder, names, asked, documents, top_ranked)
        ids: list[str] = []

        def blocks() -> Iterator[tuple[IntArray, Any]]:
            for named, made in encoder.blocks(documents, "document", [self.kind], len(self._corpus)):
                yield np.arange(len(ids), len(ids) + len(named)), _vectors(made, self.kind)
                ids.extend(named)

        find: Any = {"dense": dense_top_k, "sparse": sparse_top_k, "multi": maxsim_top_k}[self.kind]
        found = find(_vectors(asked, self.kind), blocks(), top_k)
        return {name: {ids[row]: float(score) for row, score in zip(rows.tolist(), best.tolist(), strict=True)}
                for name, (rows, best) in zip(names, found, strict=True)}

    def _ranked(
        self, encoder: Encoder, names: Sequence[str], asked: Embeddings, documents: Iterable[tuple[str, str]],
        top_ranked: Mapping[str, Sequence[str]],
    ) -> dict[str, dict[str, float]]:
        wanted = {name for query in names for name in top_ranked.get(query, ())}
        texts = {name: text for name, text in documents if name in wanted}
        told = encoder.encode(list(texts.values()), "document", [self.kind])
        rows = {name: row for row, name in enumerate(texts)}
        ranked: dict[str, dict[str, float]] = {}
        for i, query in enumerate(names):
            candidates = list(top_ranked.get(query, ()))
            chosen = told.take([rows[name] for name in candidates])
            values = _similarities(asked.take([i]), chosen, self.kind)[0]
            ranked[query] = dict(zip(candidates, values.tolist(), strict=True))
        return ranked

    def _encoder(self, task_metadata: Any, prompt_type: Any) -> Encoder:
        return Encoder(self.model, (self.kind,), _instruction(self.model, task_metadata, prompt_type))


class DenseBridge(SearchBridge):
    """mteb's EncoderProtocol too."""

    def encode(
        self, inputs: Any, *, task_metadata: Any, hf_split: str, hf_subset: str, prompt_type: Any = None, **kwargs: Any
    ) -> FloatArray:
        """(n, d) vectors. Texts side by side are documents, or queries where an instruction is asked of them."""
        encoder = self._encoder(task_metadata, prompt_type)
        as_query = prompt_type == "query" or (prompt_type is None and encoder.instruction is not None)
        role: Role = "query" if as_query else "document"
        dense = encoder.encode(list(_texts(inputs)), role).dense
        assert dense is not None
        return dense

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """(n, m) cosines, as a tensor."""
        from qianru.compat.util import cos_sim

        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """(n,) cosines of row i and row i, as a tensor."""
        from qianru.compat.util import pairwise_cos_sim

        return pairwise_cos_sim(embeddings1, embeddings2)


class PairBridge:
    """mteb's CrossEncoderProtocol."""

    def __init__(self, model: Reranker) -> None:
        self.model = model
        self.mteb_model_meta = _meta(model.spec, None)

    def predict(
        self, inputs1: Any, inputs2: Any, *, task_metadata: Any, hf_split: str, hf_subset: str, prompt_type: Any = None,
        **kwargs: Any,
    ) -> FloatArray:
        """(n,) scores of text i of the first with text i of the second."""
        return self.model.score(list(zip(_texts(inputs1), _texts(inputs2), strict=True)))


def _meta(spec: ModelSpec, kind: Kind | None) -> Any:
    """What mteb stores beside the results: the revision is our fingerprint."""
    sort = {"dense": "dense", "sparse": "sparse", "multi": "late-interaction", None: "cross-encoder"}[kind]
    name = spec.name if spec.name.count("/") == 1 else f"qianru/{spec.name.replace('/', '_')}"
    metas = _mteb("mteb.models.model_meta")
    scored = None if kind is None else metas.ScoringFunction(SCORED_BY[kind])
    return metas.ModelMeta.create_empty({
        "name": name, "revision": spec.fingerprint[:12] or "unknown", "max_tokens": spec.max_tokens,
        "embed_dim": spec.dim, "similarity_fn_name": scored, "model_type": [sort],
    })


def _instruction(model: Model, task_metadata: Any, prompt_type: str | None) -> str | None:
    """What the task asks for, else what mteb asks for in tasks of its type; None for a model that follows nothing."""
    if not follows_instructions(model):
        return None
    said = task_metadata.prompt
    if isinstance(said, Mapping):
        said = said.get(str(prompt_type or "query"))
    return str(said or _mteb("mteb.abstasks.abstask").get_abstask_prompt(task_metadata.name)) or None


def _batches(rows: Any, task_metadata: Any, role: Role) -> Any:
    """The rows of a data set of queries or documents as mteb hands them to its own encoders: title and text joined."""
    prompt_type = _mteb("mteb.types").PromptType(role)
    loaders = _mteb("mteb._create_dataloaders")       # private, but what its own models of other kinds than dense call
    return loaders.create_dataloader(rows, task_metadata=task_metadata, prompt_type=prompt_type, batch_size=1024)


def _documents(corpus: Any, task_metadata: Any) -> Iterator[tuple[str, str]]:
    return zip(map(str, corpus["id"]), _texts(_batches(corpus, task_metadata, "document")), strict=True)


def _texts(batches: Any) -> Iterator[str]:
    for batch in batches:
        if "text" not in batch:
            raise BadInput(f"Qianru embeds texts; this task has {' and '.join(batch)}.")
        yield from batch["text"]


def _mteb(module: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != "mteb":
            raise
        raise MissingExtra("The bridge to mteb needs mteb. Install it with: pip install 'mteb>=2.12,<3'") from None


def _vectors(embeddings: Embeddings, kind: Kind) -> Any:
    """The vectors of that kind; dense ones of length 1, for cosine."""
    if kind != "dense":
        return getattr(embeddings, kind)
    assert embeddings.dense is not None
    lengths = np.linalg.norm(embeddings.dense, axis=1, keepdims=True)
    return embeddings.dense / np.where(lengths, lengths, 1)


def _similarities(asked: Embeddings, told: Embeddings, kind: Kind) -> FloatArray:
    """(1, n) of one query and its candidates."""
    if kind == "dense":
        assert asked.dense is not None
        assert told.dense is not None
        return scores.cosine(asked.dense, told.dense)
    if kind == "sparse":
        assert asked.sparse is not None
        assert told.sparse is not None
        return sparse_dot(asked.sparse, told.sparse)
    assert asked.multi is not None
    assert told.multi is not None
    return maxsim_candidates(asked.multi, [np.arange(len(told))], told.multi)[0][None]
