"""Models that learn, by name: made anew for each task and fitted on its texts, as a search engine is on its corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from typing import TYPE_CHECKING

from qianru.errors import UnknownName
from qianru.evaluate.data import Clusters, Data, Labelled, Pairs

if TYPE_CHECKING:
    from qianru.models.base import Fittable, Model

SEED = 1
DIM = 128
BLOCK_TEXTS = 4096


def fresh_bm25() -> Fittable:
    """BM25 as collections have it."""
    from qianru.models.bm25 import BM25
    from qianru.text.analyze import SEARCH

    return BM25(SEARCH, query_stop_lists=("zh", "en"))


def fresh_counts() -> Fittable:
    """Counts of words."""
    from qianru.models.lexical import Counts
    from qianru.text.analyze import SEARCH

    return Counts(SEARCH)


def fresh_tfidf() -> Fittable:
    """TF-IDF over words."""
    from qianru.models.lexical import TfIdf
    from qianru.text.analyze import SEARCH

    return TfIdf(SEARCH)


def fresh_lsa() -> Fittable:
    """LSA over words."""
    from qianru.models.lsa import LSA
    from qianru.text.analyze import SEARCH

    return LSA(DIM, SEARCH, seed=SEED)


def fresh_word2vec() -> Fittable:
    """Skip-gram word vectors, pooled with frequent words held back."""
    from qianru.models.word2vec import Word2Vec

    return Word2Vec(DIM, seed=SEED)


def fresh_characters() -> Fittable:
    """TF-IDF over characters and pairs of them."""
    from qianru.models.lexical import TfIdf
    from qianru.text.analyze import Analyzer

    return TfIdf(Analyzer(unit="char", ngrams=(1, 2), fold_script=True))


FRESH: Mapping[str, Callable[[], Fittable]] = {
    "bm25": fresh_bm25, "counts": fresh_counts, "tfidf": fresh_tfidf, "lsa": fresh_lsa, "word2vec": fresh_word2vec,
    "characters": fresh_characters,
}
"""Name -> a model that has learnt nothing yet."""


def fitted_on(name: str, data: Data) -> Model:
    """The model by that name, fitted on what a user would have: the corpus, the texts to learn from, or all texts.

    Raises UnknownName for a name that FRESH lacks.
    """
    if name not in FRESH:
        raise UnknownName("model that learns", name, FRESH)
    model = FRESH[name]()
    add = getattr(model, "add", None)
    if add is None:
        return model.fit(list(texts_of(data)))
    model.fit([])                      # BM25 takes its corpus block by block, so that the texts need not stay
    texts = texts_of(data)
    while block := list(islice(texts, BLOCK_TEXTS)):
        add(block)
    return model


def texts_of(data: Data) -> Iterator[str]:
    """What a model may learn from: nothing that only the queries or the texts to be tested say, where there is else."""
    if isinstance(data, Labelled):
        return iter(data.train_texts)
    if isinstance(data, Clusters):
        return chain.from_iterable(texts for texts, _ in data.sets)
    if isinstance(data, Pairs):
        return chain(data.left, data.right)
    return (text for _, text in data.corpus())
