"""What goes with these items, by text and by behaviour, each believed as far as it has been seen.

The likeness of each item of a session to all items is brought, for text and for behaviour alike, to 0 on average and
1 at its best. Candidate j, which stood in seen_j sessions, is given

    a_j = half / (half + seen_j)                        1 for an item nobody has seen, falling towards 0
    score_j = a_j x share x text_j + (1 - a_j) x behaviour_j

averaged over the session's items, of which each counts `decay` of the one after it. An item of the session that nobody
has seen speaks by its text alone. `half`, `share` and `decay` are learnt (see learning.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadInput, ShapeMismatch
from qianru.models.base import Model
from qianru.scores import Vectors, metric, top_k
from qianru.types import FloatArray, IntArray, Progress, SparseRows
from qianru.use.material import vectors_of
from qianru.use.recommend.behaviour import Item2Vec, item_vectors, sightings
from qianru.use.recommend.by_text import find_item, suited_model

Numbers = NDArray[np.float64]


class Mix(NamedTuple):
    """How text and behaviour are mixed.

    half: in how many sessions an item is seen when text and behaviour count alike
    share: what the best likeness by text is worth beside the best by behaviour
    decay: what an item of the session counts beside the one after it
    """

    half: float = 10.0
    share: float = 0.3
    decay: float = 0.8


class Recommended(NamedTuple):
    """An item, its row, its score, its likeness by text and by behaviour (0 on average, 1 at best), how often seen."""

    name: str
    row: int
    score: float
    text: float
    behaviour: float
    seen: int


class Likeness(NamedTuple):
    """Of a session to all n items: (n,) text by items that were seen, text by others, behaviour."""

    text: Numbers
    cold_text: Numbers
    behaviour: Numbers


@dataclass(frozen=True, slots=True, eq=False)
class Recommender:
    """n items that can be recommended; made by `recommender`, or by `learn_recommender`, which learns the mix too.

    texts: n vectors, None without texts;  by_dot: whether these are made for the dot product, as BM25's are
    behaviour: (n, d) of length 1 or zero;  seen: (n,) in how many sessions
    """

    names: Sequence[str]
    texts: Vectors | None
    by_dot: bool
    behaviour: FloatArray | None
    seen: IntArray
    mix: Mix

    def recommend(self, items: str | Sequence[str], k: int = 10) -> list[Recommended]:
        """The k items that go best with the item, or with a session's items in their order; none of these themselves.

        Raises UnknownName, BadInput for an item that is none or several.
        """
        if k < 1:
            raise BadInput(f"k is the number of items to return, at least 1; got {k}.")
        wanted = [items] if isinstance(items, str) else list(items)
        if not wanted:
            raise BadInput("Name at least one item to start from.")
        rows = [find_item(self.names, item) for item in wanted]
        likeness = self.likeness(rows, self.mix.decay)
        scores = self.scores(likeness, self.mix)
        scores[rows] = -np.inf
        found, values = top_k(scores[None], min(k, len(self.names)))
        text = likeness.text + likeness.cold_text
        return [Recommended(self.names[i], i, value, float(text[i]), float(likeness.behaviour[i]), int(self.seen[i]))
                for i, value in zip(found[0].tolist(), values[0].tolist(), strict=True) if value > 0]

    def likeness(self, rows: Sequence[int], decay: float) -> Likeness:
        """Of the session of these rows to all items."""
        return self.likenesses(rows, [decay])[0]

    def likenesses(self, rows: Sequence[int], decays: Sequence[float]) -> list[Likeness]:
        """The same for several decays, at the price of one."""
        n = len(self.names)
        text = np.zeros((len(rows), n)) if self.texts is None else _scaled(self._by_text(rows), rows)
        acted = np.zeros((len(rows), n))
        known = np.zeros(len(rows), bool)
        if self.behaviour is not None:
            has: NDArray[np.bool_] = np.asarray(self.behaviour.any(axis=1))
            known = has[list(rows)]
            raw = np.where(has, self.behaviour[rows].astype(np.float64) @ self.behaviour.T, np.nan)
            acted = _scaled(raw, rows) * known[:, None]
        found: list[Likeness] = []
        for decay in decays:
            weights = float(decay) ** np.arange(len(rows))[::-1]
            weights /= weights.sum()
            found.append(Likeness(weights * known @ text, weights * ~known @ text, weights @ acted))
        return found

    def scores(self, likeness: Likeness, mix: Mix) -> Numbers:
        """(n,) of all items; larger is better."""
        if self.behaviour is None:
            return likeness.text + likeness.cold_text
        if self.texts is None:
            return likeness.behaviour * (1 - self._by_text_alone(mix))
        a = self._by_text_alone(mix)
        mixed: Numbers = mix.share * (likeness.cold_text + a * likeness.text) + (1 - a) * likeness.behaviour
        return mixed

    def matrix(self, rows: Sequence[int]) -> Numbers:
        """(m, m) how well item j goes with item i alone; NaN where they are the same."""
        values = np.array([self.scores(self.likeness([row], 1.0), self.mix)[list(rows)] for row in rows])
        values[np.equal.outer(np.array(rows), np.array(rows))] = np.nan
        return values

    def _by_text_alone(self, mix: Mix) -> Numbers:
        """(n,) a: how far each item is judged by its text."""
        a: Numbers = np.where(self.seen > 0, mix.half / np.maximum(mix.half + self.seen, 1e-9), 1.0)
        return a

    def _by_text(self, rows: Sequence[int]) -> Numbers:
        assert self.texts is not None
        asked = self.texts.take(rows) if isinstance(self.texts, SparseRows) else self.texts[list(rows)]
        return np.array(metric("dot" if self.by_dot else "cosine")(asked, self.texts), np.float64)


def recommender(
    names: Sequence[str], texts: Sequence[str] | None = None, sessions: Sequence[Sequence[str]] | None = None,
    model: Model | None = None, how: Item2Vec = Item2Vec(), mix: Mix = Mix(), *, progress: Progress | None = None,
) -> Recommender:
    """A recommender of the items, by their texts, by sessions, or by both; items that only sessions name come after.

    model: of the texts, one that is ready; by default TF-IDF made for their script and fitted on them
    """
    if texts is None and sessions is None:
        raise BadInput("Items are recommended by their texts or by sessions. Give one of them, or both.")
    if texts is not None and len(texts) != len(names):
        raise ShapeMismatch(f"{len(texts)} texts need as many names; there are {len(names)}.")
    given = set(names)
    every = [*names, *dict.fromkeys(item for session in sessions or () for item in session if item not in given)]
    rows = {name: row for row, name in reversed(list(enumerate(every)))}       # of equal names the first counts
    vectors: Vectors | None = None
    by_dot = False
    if texts is not None:
        said = [*texts, *[""] * (len(every) - len(texts))]
        ready = suited_model(texts).fit(texts) if model is None else model
        vectors, by_dot = vectors_of(ready, said, progress=progress), ready.spec.family == "bm25"
    acted = None if sessions is None else item_vectors(sessions, rows, how, progress=progress)
    return Recommender(every, vectors, by_dot, acted, sightings(sessions or (), rows), mix)


def _scaled(raw: Numbers, rows: Sequence[int]) -> Numbers:
    """(m, n) with each row's mean at 0 and its largest at 1, its own item and NaN left out and at 0."""
    values = raw.copy()
    values[np.arange(len(rows)), rows] = np.nan
    there = ~np.isnan(values)
    means = np.where(there, values, 0).sum(1, keepdims=True) / np.maximum(there.sum(1, keepdims=True), 1)
    above = np.where(there, values - means, 0)
    best = above.max(1, keepdims=True, initial=0)
    scaled: Numbers = above / np.where(best > 0, best, 1)
    return scaled
