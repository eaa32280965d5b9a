"""The k best as a heap whose root is the worst of them, in compiled code; of equal scores the higher id is worse."""

from __future__ import annotations

from typing import Any

from qianru.scores.exact.compiled import compiled


@compiled
def _sink(scores: Any, rows: Any, n: int, score: Any, row: Any) -> None:
    """Puts a document in the place of the worst of a heap."""
    i = 0
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and (scores[child + 1] < scores[child]
                              or (scores[child + 1] == scores[child] and rows[child + 1] > rows[child])):
            child += 1
        if not (scores[child] < score or (scores[child] == score and rows[child] > row)):
            break
        scores[i], rows[i] = scores[child], rows[child]
        i = child
    scores[i], rows[i] = score, row


@compiled
def settle(scores: Any, rows: Any, n: int) -> None:
    """Makes a heap of n documents a ranking, best first."""
    for last in range(n - 1, 0, -1):
        score, row = scores[last], rows[last]
        scores[last], rows[last] = scores[0], rows[0]
        _sink(scores, rows, last, score, row)


@compiled
def place(scores: Any, rows: Any, n: int, k: int, score: Any, row: Any) -> int:
    """Puts a document into the k best, a heap whose root is the worst, in place of that one if it is full.

    scores, rows: (k,), of which n are in use;  returns how many are now
    """
    if n < k:
        i = n
        while i > 0:
            above = (i - 1) >> 1
            if not (scores[above] > score or (scores[above] == score and rows[above] < row)):
                break
            scores[i], rows[i] = scores[above], rows[above]
            i = above
        scores[i], rows[i] = score, row
        return n + 1
    _sink(scores, rows, n, score, row)
    return n
