"""Hard negatives: near, in the window of ranks, and not right as far as can be told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qianru.errors import BadInput
from qianru.models.base import ModelSpec
from qianru.models.bm25 import BM25
from qianru.train.data.examples import Ranked
from qianru.train.data.sets import DataConfig, DataSet
from qianru.train.mine import MineConfig, mine, write_mined
from qianru.train.mined import Mined
from qianru.types import Embeddings

QUERY, ANSWER = "什么是嵌入", "嵌入是一串数"
CORPUS = [f"文{i}" for i in range(40)]


class Angles:
    """Texts at angles from the query that a table gives: the cosine is known. Text i of the corpus has .99 - .02 i."""

    spec = ModelSpec("angles", "angles", ("dense",), "0", 2)

    def __init__(self, **cosines: float) -> None:
        self.cosines = {QUERY: 1.0, ANSWER: 0.8, **{t: 0.99 - 0.02 * i for i, t in enumerate(CORPUS)}, **cosines}

    def encode(self, texts: Sequence[str], **options: Any) -> Embeddings:
        cosines = np.array([self.cosines[text] for text in texts])
        vectors = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1).astype(np.float32) * 3   # not of length 1
        return Embeddings("angles", np.ones(len(texts), np.int64), 0, vectors)


def mined(config: MineConfig, corpus: Sequence[str] = CORPUS, model: Any = None, **options: Any) -> tuple[Any, Mined]:
    made, report = mine([Ranked(QUERY, (ANSWER,), ("旧",))], corpus, model or Angles(), config, **options)
    return made[0], report


def test_negatives_come_from_the_window_of_ranks() -> None:
    made, report = mined(MineConfig(first=30, last=35, n=9))
    assert made == Ranked(QUERY, (ANSWER,), tuple(CORPUS[30:35]))
    assert (report.n_candidates, report.n_kept, report.n_short) == (5, 5, 1)


def test_what_scores_above_95_percent_of_the_positive_is_dropped_and_shown() -> None:
    """.95 x .8 = .76: texts 0 to 11 have .99 to .77."""
    made, report = mined(MineConfig(first=0, last=40, n=3, choose="nearest"))
    assert made.negatives == ("文12", "文13", "文14")
    assert report.n_likely_right == 12
    assert len(report.doubtful) == 8
    shown = report.doubtful[0]
    assert (shown["query"], shown["positive"], shown["text"]) == (QUERY, ANSWER, "文0")
    assert [shown["score"], shown["score_of_positive"]] == pytest.approx([0.99, 0.8], abs=1e-6)


def test_a_window_of_likely_right_texts_says_to_look_deeper() -> None:
    """Texts 0 to 9 score .99 to .81, all above .76: there are negatives from text 12 on, behind the window."""
    made, report = mined(MineConfig(first=0, last=10, n=3))
    assert made.negatives == ()
    assert (report.n_short, report.n_none, report.n_deeper) == (1, 1, 1)
    assert report.advice(0, 10, 0.05, 40) == [
        "1 queries: all down to rank 10 scores above 95% of the positive, so the model does not tell them apart yet. "
        "To have more, take ranks 10-40, a smaller margin, or a model that ranks these positives higher."]


def test_a_corpus_that_ends_in_the_window_says_so() -> None:
    _, report = mined(MineConfig(first=10, last=60, n=40))
    assert (report.n_short, report.n_none, report.n_deeper) == (1, 0, 0)
    assert report.advice(10, 60, 0.05, 40) == ["1 queries: the corpus of 40 texts ends within the ranks 10-60. Use a "
                                               "larger corpus, or a lower first rank."]


def test_a_corpus_of_right_answers_says_so() -> None:
    rows = [Ranked(QUERY, (ANSWER,)), *(Ranked(QUERY, (f"文{i}",)) for i in range(20, 40))]
    _, report = mine(rows, CORPUS, Angles(), MineConfig(first=20, last=40, n=3))
    assert (report.n_none, report.n_deeper) == (21, 1)      # for 文39 itself, at .21, the last rank is no lower
    assert report.advice(20, 40, 0.05, 40)[0].startswith("20 queries: most candidates are known to be right.")


def test_enough_negatives_need_no_advice() -> None:
    assert mined(MineConfig(first=12, last=40, n=5))[1].advice(12, 40, 0.05, 40) == []


def test_without_a_margin_the_nearest_are_taken() -> None:
    assert mined(MineConfig(first=0, n=2, margin=None, choose="nearest"))[0].negatives == ("文0", "文1")


def test_a_negative_score_of_the_positive_still_leaves_a_margin_below_it() -> None:
    model = Angles(**{ANSWER: -0.5, "文1": -0.51, "文2": -0.53})
    made, _ = mined(MineConfig(first=0, n=9, choose="nearest"), ["文1", "文2"], model)
    assert made.negatives == ("文2",)        # below -.5 - .025


def test_the_query_its_answers_and_copies_of_them_are_never_negatives() -> None:
    same = {" 什么是嵌入 ": 0.7, "嵌入是一串数 ": 0.7, "ＡＢＣ": 0.6, "abc": 0.6}
    made, report = mined(MineConfig(first=0, n=9, choose="nearest"), [*same, "文20"], Angles(**same))
    assert made.negatives == ("ＡＢＣ", "文20")
    assert (report.n_known, report.n_repeated) == (2, 1)


def test_an_answer_in_another_row_of_the_same_query_is_known_to_be_right() -> None:
    rows = [Ranked(QUERY, (ANSWER,)), Ranked(QUERY, ("文30",))]
    made, report = mine(rows, CORPUS, Angles(), MineConfig(first=29, last=32, n=9))
    assert made[0].negatives == ("文29", "文31")
    assert report.n_known == 2


def test_random_choice_is_the_same_each_time_and_another_for_another_seed() -> None:
    config = MineConfig(first=12, last=40, n=5)
    one, other = mined(config)[0].negatives, mined(replace(config, seed=1))[0].negatives
    assert mined(config)[0].negatives == one != other
    assert list(one) == sorted(one, key=CORPUS.index)      # nearest first


def test_another_model_can_veto() -> None:
    """For BM25 the first text, which has the query's words twice, outscores the answer."""
    corpus = ["嵌入 嵌入 什么是嵌入吧", "天气很好", "今天吃蔬菜"]
    model = Angles(**dict.fromkeys(corpus, 0.3))
    plain, _ = mined(MineConfig(first=0, n=9), corpus, model)
    made, report = mined(MineConfig(first=0, n=9), corpus, model, cross_check=BM25().fit([*corpus, ANSWER]))
    assert len(plain.negatives) == 3
    assert made.negatives == ("天气很好", "今天吃蔬菜")
    assert report.n_cross_checked == 1


def test_scores_are_written_for_distillation_and_read_back(tmp_path: Path) -> None:
    made, _ = mined(MineConfig(first=12, last=14, scores=True))
    write_mined(tmp_path / "mined.jsonl", [made])
    row = json.loads((tmp_path / "mined.jsonl").read_text("utf-8"))
    assert row["neg"] == ["文12", "文13"]
    assert [*row["pos_scores"], *row["neg_scores"]] == pytest.approx([0.8, 0.75, 0.73], abs=1e-6)
    assert DataSet(DataConfig(str(tmp_path / "mined.jsonl")))[0] == made


def test_a_corpus_that_ends_before_the_window_and_a_model_of_words_are_refused() -> None:
    with pytest.raises(BadInput, match="has 3 texts, and negatives are taken from rank 10 on"):
        mined(MineConfig(), CORPUS[:3])
    with pytest.raises(BadInput, match="ranks by dense vectors, and bm25 makes sparse"):
        mined(MineConfig(), CORPUS, BM25().fit(CORPUS))
    with pytest.raises(BadInput, match="Ranks go from first to last"):
        MineConfig(first=5, last=5)
