"""How text and behaviour are mixed best, learnt and judged on sessions held back: which item comes next?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qianru.errors import BadInput
from qianru.models.base import Model
from qianru.types import IntArray, Progress
from qianru.use.recommend.behaviour import Item2Vec
from qianru.use.recommend.recommender import Mix, Recommender, recommender
from qianru.use.recommend.sessions import Sessions
from qianru.use.tune import Interval, interval_of

HALVES = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
SHARES = (0.1, 0.3, 1.0)
DECAYS = (1.0, 0.8, 0.5, 0.25)
LEAST = 20              # sessions held back; fewer teach and tell nothing
AT_MOST = 2_000         # of them are judged
Values = NDArray[np.float64]


class Judged(NamedTuple):
    """How often the next item is among the first k, and nDCG@k, with the ends of their 95 % intervals."""

    hit_rate: Interval
    ndcg: Interval


@dataclass(frozen=True, slots=True)
class Learned:
    """A recommender over all sessions, and what its ways are worth on sessions that it was not learnt from.

    ways: "popular", "text", "behaviour", "mixed" -> how good, each with half and decay that were
        learnt for it; empty if too few sessions could be held back
    gains: way -> nDCG@k of "mixed" minus that way's, on the same sessions; none without texts
    n_held: sessions held back whose next item was asked;  n_repeats: passed over, their last item was there before
    """

    recommender: Recommender
    k: int
    ways: Mapping[str, Judged]
    gains: Mapping[str, Interval]
    n_held: int
    n_repeats: int
    timed: bool


def learn_recommender(
    names: Sequence[str], texts: Sequence[str] | None, sessions: Sessions, model: Model | None = None,
    how: Item2Vec = Item2Vec(), *, k: int = 10, held: float = 0.2, seed: int = 0, progress: Progress | None = None,
) -> Learned:
    """The recommender with the mix that finds the next item best, and how good that is.

    A share `held` of the sessions is held back, the latest where they have times, else drawn by the seed, and their
    last items are asked for. Each way is learnt on one half of them and judged on the other, and the other way round;
    the mix that is best on both is kept, and vectors are then learnt from all sessions. progress counts texts and
    sessions.
    Raises BadInput where nothing can be learnt.
    """
    if not 0 < held < 1:
        raise BadInput(f"The share that is held back lies between 0 and 1, not at {held}.")
    lists = [list(session) for session in sessions.lists]
    apart = _apart(len(lists), held, None if sessions.timed else seed)
    asked = [lists[i] for i in apart if len(lists[i]) > 1]
    new = [session for session in asked if session[-1] not in session[:-1]]
    n_repeats = len(asked) - len(new)
    whole = recommender(names, texts, lists, model, how, progress=progress)
    if len(new) < LEAST:
        return Learned(whole, k, {}, {}, 0, n_repeats, sessions.timed)
    away = set(apart.tolist())
    rest = [session for i, session in enumerate(lists) if i not in away]
    rows = {name: row for row, name in reversed(list(enumerate(whole.names)))}
    learner = recommender(whole.names, None, rest, None, how, progress=progress)
    learner = replace(learner, texts=whole.texts, by_dot=whole.by_dot)
    asked_rows = [[rows[item] for item in session] for session in new[-AT_MOST:]]
    ranks = _ranks(learner, asked_rows, progress)
    mixes, tried = ranks["mixed" if texts is not None else "behaviour"]
    best, _ = _chosen(tried, k, seed)
    judged = {way: _chosen(found, k, seed)[1] for way, (_, found) in ranks.items()}
    ways = {way: Judged(interval_of(_hit(found, k), seed), interval_of(_ndcg(found, k), seed))
            for way, found in judged.items()}
    gains = {way: interval_of(_ndcg(judged["mixed"], k) - _ndcg(found, k), seed) for way, found in judged.items()
             if way != "mixed"} if "mixed" in judged else {}
    return Learned(replace(whole, mix=mixes[best]), k, ways, gains, len(asked_rows), n_repeats, sessions.timed)


def _apart(n: int, held: float, seed: int | None) -> IntArray:
    """The numbers of the sessions that are held back, ascending: the last ones, or drawn."""
    n_held = int(n * held)
    order = np.arange(n) if seed is None else np.random.default_rng(seed).permutation(n)
    return np.sort(order[n - n_held :])


def _ranks(
    learner: Recommender, asked: Sequence[Sequence[int]], progress: Progress | None
) -> dict[str, tuple[list[Mix], NDArray[np.int64]]]:
    """Way -> the mixes tried, and (mixes, sessions) how many items stand before the one that came next."""
    ways: dict[str, tuple[Recommender | None, list[Mix]]] = {
        "popular": (None, [Mix()]),
        "text": (replace(learner, behaviour=None), [Mix(decay=decay) for decay in DECAYS]),
        "behaviour": (replace(learner, texts=None), [Mix(half, 1.0, decay) for half in HALVES for decay in DECAYS]),
        "mixed": (learner, [Mix(*one) for one in product(HALVES, SHARES, DECAYS)]),
    }
    if learner.texts is None:
        del ways["text"], ways["mixed"]
    ranks = {way: np.zeros((len(mixes), len(asked)), np.int64) for way, (_, mixes) in ways.items()}
    for i, session in enumerate(asked):
        before, target = session[:-1], session[-1]
        like = dict(zip(DECAYS, learner.likenesses(before, DECAYS), strict=True))
        for way, (one, mixes) in ways.items():
            for m, mix in enumerate(mixes):
                scores = learner.seen if one is None else one.scores(like[mix.decay], mix)
                ranks[way][m, i] = _rank(np.array(scores, np.float64), before, target)
        if progress is not None:
            progress(i + 1, len(asked))
    return {way: (mixes, ranks[way]) for way, (_, mixes) in ways.items()}


def _rank(scores: Values, before: Sequence[int], target: int) -> int:
    """How many items stand before the target; those of the session are none, equals stand in order of rows."""
    mine = scores[target]
    scores[list(before)] = -np.inf
    return int((scores > mine).sum() + (scores[:target] == mine).sum())


def _chosen(ranks: NDArray[np.int64], k: int, seed: int) -> tuple[int, NDArray[np.int64]]:
    """(row that is best on all sessions, ranks of each half's sessions by the row that is best on the other half)."""
    values = _ndcg(ranks, k)
    half = np.random.default_rng(seed).permutation(ranks.shape[1]) % 2 == 0
    after = np.where(half, ranks[values[:, ~half].mean(1).argmax()], ranks[values[:, half].mean(1).argmax()])
    return int(values.mean(1).argmax()), after


def _hit(ranks: NDArray[np.int64], k: int) -> Values:
    return (ranks < k).astype(np.float64)


def _ndcg(ranks: NDArray[np.int64], k: int) -> Values:
    """With one right item nDCG is the discount of its rank."""
    gains: Values = np.where(ranks < k, 1 / np.log2(ranks + 2.0), 0.0)
    return gains
