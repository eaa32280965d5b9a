"""What is clustered, classified or compared: names, texts and vectors, from files, or as a collection stores them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, zip_longest
from pathlib import Path

import numpy as np

from qianru.errors import BadInput, CollectionError
from qianru.index.collection import Collection
from qianru.index.filter import Filter
from qianru.index.push_ends import Cargo, end_of
from qianru.models import load
from qianru.models.base import Model, as_texts
from qianru.models.embedding_reader import StoredEmbeddings
from qianru.models.lexical import TfIdf
from qianru.scores import Vectors
from qianru.text.analyze import SEARCH
from qianru.text.read import Source
from qianru.types import Embeddings, Kind, Progress, SparseRows


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """n texts with their names and vectors, and the name of what made these.

    views: one kind of vectors, or several of the same texts
    """

    ids: Sequence[str]
    texts: Sequence[str]
    views: tuple[Vectors, ...]
    model: str

    @property
    def vectors(self) -> Vectors:
        """The first view."""
        return self.views[0]


def word_model() -> TfIdf:
    """TF-IDF over words and characters, each word's count by its logarithm: what groups texts best without training."""
    return TfIdf(SEARCH, sublinear_tf=True)


def from_texts(
    named: Iterable[tuple[str, str]], model: Model | None = None, *, progress: Progress | None = None
) -> Material:
    """The texts as the model sees them; a model that makes dense and sparse vectors gives two views.

    named: (id, text) of each
    model: by default words, TF-IDF fitted on these texts, and meaning, the model that comes with the package: side by
        side they group texts better than either alone on three of four sets (bench/uses.py), and never much worse
    Raises BadInput for a model without dense or sparse vectors.
    """
    pairs = list(named)
    ids, texts = [name for name, _ in pairs], as_texts(text for _, text in pairs)
    if model is None:
        words, own = word_model().fit(texts), load()
        return Material(ids, texts, (vectors_of(words, texts, progress=progress), vectors_of(own, texts)),
                        "words and meaning")
    made = model.encode(texts, kinds=kinds_of(model), progress=progress)
    views = tuple(view for view in (made.dense, made.sparse) if view is not None)
    return Material(ids, texts, views, model.spec.name)


def kinds_of(model: Model) -> list[Kind]:
    """The kinds of a model's vectors that group texts; BadInput where it makes none of them."""
    both: tuple[Kind, ...] = ("dense", "sparse")
    kinds = [kind for kind in both if kind in model.spec.kinds]
    if not kinds:
        raise BadInput(f"{model.spec.name} makes {' and '.join(model.spec.kinds) or 'no'} vectors; this needs dense or "
                       "sparse ones. Take another model.")
    return kinds


def from_folder(named: Iterable[tuple[str, str]], folder: Path) -> Material:
    """The texts with the vectors that qianru embed has written of them.

    Raises BadInput where the folder's names are not those of the texts, BadFile for a folder that is not complete.
    """
    pairs = list(named)
    stored = StoredEmbeddings(folder)
    for i, (name, other) in enumerate(zip_longest((name for name, _ in pairs), stored.ids())):
        if name != other:
            raise BadInput(f"{folder} holds vectors of other texts: number {i} is {other or 'missing'} there and "
                           f"{name or 'missing'} here. Give the files and columns that were embedded.")
    vectors = one_kind(stored.rows(0, len(stored)))
    return Material([name for name, _ in pairs], [text for _, text in pairs], (vectors,), stored.manifest["model"])


def vectors_of(model: Model, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
    """The dense vectors of the texts, or else the sparse ones; BadInput for a model that makes neither."""
    return one_kind(model.encode(texts, kinds=kinds_of(model)[:1], progress=progress))


def one_kind(made: Embeddings) -> Vectors:
    """The dense vectors, or else the sparse ones."""
    vectors = made.dense if made.dense is not None else made.sparse
    if vectors is None:
        raise BadInput(f"{made.model} made {' and '.join(made.kinds)} vectors; this needs dense or sparse ones.")
    return vectors


def from_collection(
    collection: Collection, where: Filter | str | None = None, *, most: int | None = None, seed: int = 0,
    progress: Progress | None = None,
) -> Material:
    """The documents of a collection with the vectors that it stores; nothing is embedded again.

    where: only documents whose fields pass
    most: of more documents so many are drawn at random; of a folder only these are read, a server gives all
    Dense vectors are taken where there are some, else sparse ones; of BM25, counts weighed by TF-IDF. Other threads are
    let in between pieces. Raises CollectionError where the collection has been re-embedded meanwhile.
    """
    passes = Filter.parse(where) if isinstance(where, str) else where
    ids: list[str] = []
    texts: list[str] = []
    parts: list[Vectors] = []
    columns: dict[str, int] = {}
    n, model = collection.count(), collection.model
    places = None if most is None or n <= most else np.sort(np.random.default_rng(seed).choice(n, most, replace=False))
    total = n if places is None else len(places)
    done, cargos = 0, end_of(collection).each(places, multi=False)
    while True:
        with collection.entered():
            if collection.model is not model:
                raise CollectionError(f"{collection.path} has been re-embedded meanwhile. Read it again.")
            cargo = next(cargos, None)
        if cargo is None:
            break
        chosen = [i for i, document in enumerate(cargo.documents) if passes is None or passes.matches(document.fields)]
        done += len(cargo.documents)
        if progress is not None:
            progress(done, total)
        if not chosen:
            continue
        some = cargo.some(chosen)
        ids += [document.id for document in some.documents]
        texts += [document.text for document in some.documents]
        parts.append(_vectors(some, columns))
    if not ids:
        raise BadInput(f"No document of {collection.path} passes the filter." if passes is not None else
                       f"{collection.path} holds no documents.")
    if isinstance(parts[0], SparseRows):
        rows = SparseRows.concat([part for part in parts if isinstance(part, SparseRows)])
        vectors: Vectors = _weighed(rows) if columns else rows
    else:
        vectors = np.concatenate([part for part in parts if not isinstance(part, SparseRows)])
    return Material(ids, texts, (vectors,), model.spec.name)


def documents_of(collection: Collection) -> Iterator[Source]:
    """The documents of a collection as rows of id, text and fields, in the order of first adding, a few at a time.

    A field that is itself called id or text stands beside these, as fields.id and fields.text.
    """
    with collection.entered():
        for cargo in end_of(collection).each(multi=False):
            for document in cargo.documents:
                own = {"id": document.id, "text": document.text}
                fields = {f"fields.{name}" if name in own else name: value for name, value in document.fields.items()}
                yield Source(str(collection.path), document.text, 0, fields, id=document.id, columns=("text",),
                             row={**own, **fields})


def _vectors(cargo: Cargo, columns: dict[str, int]) -> Vectors:
    """The dense vectors, the sparse ones, or counts of words; columns: word -> its number, new words get the next."""
    if cargo.vectors.dense is not None:
        return cargo.vectors.dense
    if cargo.words is None:
        return one_kind(cargo.vectors)
    for words in cargo.words:
        columns.update(zip([word for word in words if word not in columns], count(len(columns)), strict=False))
    rows = [{columns[word]: float(n) for word, n in words.items()} for words in cargo.words]
    return SparseRows.from_rows(rows, len(columns))


def _weighed(counts: SparseRows) -> SparseRows:
    """As word_model weighs."""
    frequencies = np.bincount(counts.terms, minlength=counts.width)
    idf = np.log((1 + len(counts)) / (1 + frequencies)) + 1
    weights = (1 + np.log(np.maximum(counts.weights, 1))) * idf[counts.terms]
    return SparseRows(counts.offsets, counts.terms, weights.astype(np.float32), counts.width)
