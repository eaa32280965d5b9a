"""The words that tell a cluster from the others: class TF-IDF."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from qianru.models.counting import tally
from qianru.text.analyze import Analyzer
from qianru.types import IntArray

N_WORDS = 8
WORDS = Analyzer(fold_script=True, stop_lists=("zh", "en"))
_SAYS_SOMETHING = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]{2}|[^\\W\\d_]{3}|^[^\\W\\d_]{2}$")


def distinguishing_words(
    texts: Sequence[str], labels: IntArray, k: int | None = None, *, n_words: int = N_WORDS
) -> list[list[str]]:
    """For each cluster the words that stand in it and not in the others, best first.

    labels: (n,) the cluster of each text, from 0; texts below 0 are passed over;  k: how many clusters, else as labels
        say
    A word's weight is sqrt(share of the cluster's texts with it) * log(that share / its share of all texts): class
    TF-IDF on shares of texts, so that one long text does not name a cluster. Words in less than two of a cluster's
    texts count only where there are no others; a word inside a better one is left out.
    Source: after c-TF-IDF of Grootendorst 2022 (BERTopic), with document shares in place of counts.

    >>> distinguishing_words(["苹果很甜", "香蕉和苹果", "比赛开始", "比赛结束"], np.array([0, 0, 1, 1]), n_words=1)
    [['苹果'], ['比赛']]
    """
    labels = np.asarray(labels)
    k = int(labels.max(initial=-1)) + 1 if k is None else k
    counted = tally(WORDS, texts)
    kept = np.array([bool(_SAYS_SOMETHING.search(term)) for term in counted.names], bool)
    columns = np.where(kept, np.cumsum(kept) - 1, -1)
    terms = [term for term, good in zip(counted.names, kept.tolist(), strict=True) if good]
    rows = counted.rows(columns, len(terms))
    of = np.repeat(labels, np.diff(rows.offsets))
    n_texts = np.bincount(labels[labels >= 0], minlength=k)
    inside = np.bincount(rows.terms[of >= 0], minlength=len(terms)) / max(int(n_texts.sum()), 1)
    order = np.argsort(of, kind="stable")
    ends = np.searchsorted(of[order], np.arange(k + 1))
    return [_best(terms, np.bincount(rows.terms[order[ends[c] : ends[c + 1]]], minlength=len(terms)),
                  int(n_texts[c]), inside, n_words) for c in range(k)]


def _best(terms: Sequence[str], counts: IntArray, n: int, overall: np.ndarray, n_words: int) -> list[str]:
    """The words of one cluster of n texts, counts (t,) of which hold each."""
    at = np.flatnonzero(counts >= 2)
    if not len(at):
        at = np.flatnonzero(counts)
    share = counts[at] / max(n, 1)
    weight = np.sqrt(share) * np.log(share / overall[at])
    chosen: list[str] = []
    for i in at[np.lexsort((at, -weight))].tolist():
        if not any(terms[i] in word or word in terms[i] for word in chosen):
            chosen.append(terms[i])
        if len(chosen) == n_words:
            break
    return chosen
