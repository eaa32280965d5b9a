"""The report: thresholds one can use, maps, and a page that no text of a data set can break out of."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from qianru.errors import BadInput, StorageFailed
from qianru.evaluate.atlas import Atlas, principal, survey
from qianru.evaluate.compare import runs_of
from qianru.evaluate.data import Clusters, Data, Pairs, Search
from qianru.evaluate.drawing import interval, scale_of
from qianru.evaluate.encode import Encoder
from qianru.evaluate.page import page, write_page
from qianru.evaluate.report import Report, make_report, score_of
from qianru.evaluate.resampling import Estimate
from qianru.evaluate.result import Result
from qianru.evaluate.threshold import suggest
from qianru.models.bm25 import BM25
from qianru.models.lexical import TfIdf
from qianru.models.lsa import LSA

pytest.importorskip("scipy", reason="the extra evaluate is not installed")

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"&\u2028床前明月光\x1b[31m"
POEMS = ["床前明月光", "疑是地上霜", "举头望明月", "低头思故乡", "红豆生南国", "春来发几枝", "愿君多采撷", "此物最相思"]


def test_the_threshold_is_the_lowest_that_is_precise_enough() -> None:
    """From .7 on three of four are right; from .6 on three of five; lower is no better."""
    similarities = np.array([0.9, 0.8, 0.75, 0.7, 0.6, 0.5])
    positive = np.array([True, True, False, True, False, False])
    found = suggest(similarities, positive, 0.75)
    assert found is not None
    assert_allclose([found.threshold.value, found.precision.value, found.recall.value], [0.7, 0.75, 1.0])
    strict = suggest(similarities, positive, 0.9)
    assert strict is not None
    assert_allclose([strict.threshold.value, strict.recall.value], [0.8, 2 / 3])


def test_without_a_threshold_that_is_precise_enough_there_is_none() -> None:
    assert suggest(np.array([0.9, 0.8]), np.array([False, True]), 0.9) is None
    assert suggest(np.array([0.9, 0.8]), np.array([False, False]), 0.9) is None
    assert suggest(np.zeros(0), np.zeros(0, np.bool_), 0.9) is None


def test_one_right_pair_at_the_top_is_no_threshold() -> None:
    """Of 400 pairs the best is right, and then right and wrong take turns."""
    similarities = np.linspace(1, 0, 400)
    assert suggest(similarities, np.arange(400) % 2 == 0, 0.9) is None


def test_the_interval_of_the_precision_holds_that_of_other_pairs() -> None:
    """A threshold chosen on 400 pairs keeps its word on others, within its interval, in 9 of 10 cases or more."""
    generator = np.random.default_rng(0)

    def pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
        right = generator.random(n) < 0.5
        return generator.normal(0.75 + 0.1 * right, 0.06), right

    others, labels = pairs(20_000)
    held = 0
    for seed in range(40):
        found = suggest(*pairs(400), 0.9, n_resamples=200, seed=seed)
        assert found is not None
        kept = others >= found.threshold.value
        held += found.precision.low <= labels[kept].mean() <= found.precision.high
    assert held >= 34


def test_a_map_shows_the_two_directions_of_most_variance() -> None:
    generator = np.random.default_rng(1)
    hidden = generator.normal(size=(300, 2)) * [5, 2]
    turned = np.linalg.qr(generator.normal(size=(6, 6)))[0][:2]
    points, explained = principal(hidden @ turned + generator.normal(size=(300, 6)) * 0.01)
    assert_allclose(np.abs(np.corrcoef(points[:, 0], hidden[:, 0])[0, 1]), 1, atol=1e-2)
    assert_allclose(explained.sum(), 1, atol=1e-3)
    assert explained[0] > explained[1]


@pytest.mark.parametrize("data", [
    Clusters([(POEMS, ["静夜思"] * 4 + ["相思"] * 4)]),
    Pairs(POEMS[:4], POEMS[4:], [1.0, 0.0, 1.0, 0.0]),
    Pairs(POEMS[:4], POEMS[4:], None),
    Search({"q": "谁在思念故乡"}, {"q": {"d3": 1}}, lambda: ((f"d{i}", text) for i, text in enumerate(POEMS))),
], ids=["labels", "gold", "side by side", "search"])
def test_every_type_of_task_has_a_map_with_neighbours(data: Data) -> None:
    atlas = survey(Encoder(LSA(4, seed=0).fit(POEMS), ("dense",)), "诗", data)
    n = len(atlas.texts)
    assert atlas.points.shape == (n, 2)
    assert atlas.neighbours.shape == atlas.similarities.shape == (n, min(8, n - 1))
    assert all(i not in row for i, row in enumerate(atlas.neighbours.tolist()))
    assert (np.diff(atlas.similarities, axis=1) <= 1e-6).all()
    assert len(atlas.labels) == n
    assert len(atlas.together)


def test_a_model_without_dense_vectors_has_no_map() -> None:
    with pytest.raises(BadInput, match="no dense vectors"):
        survey(Encoder(BM25(), ("sparse",)), "诗", Clusters([(POEMS, POEMS)]))
    assert TfIdf().fit(POEMS).spec.kinds == ("sparse",)


def results(*models: str) -> list[Result]:
    generator = np.random.default_rng(2)
    found = []
    for model in models:
        values = generator.random(60)
        found.append(Result(
            task="检索 <b>", task_type="Retrieval", model=model, fingerprint=model, main_score="ndcg_at_10",
            scores={"ndcg_at_10": float(values.mean())}, texts={f"q{i}": (HOSTILE,) for i in range(60)},
            per_item={f"q{i}": float(value) for i, value in enumerate(values)}))
        gold = np.arange(60) % 2
        similar = 0.8 + 0.1 * gold + generator.normal(0, 0.02, 60)
        found.append(Result(
            task="句对", task_type="PairClassification", model=model, fingerprint=model, main_score="max_ap",
            scores={"max_ap": 0.99}, per_item={f"p{i}": float(value) for i, value in enumerate(similar)},
            gold={f"p{i}": float(value) for i, value in enumerate(gold)}, n_texts=120, n_truncated=60))
    return found


def atlas_of(texts: list[str], labels: list[str]) -> Atlas:
    n = len(texts)
    points = np.random.default_rng(3).normal(size=(n, 2))
    near = (np.arange(n)[:, None] + np.arange(1, 4)) % n
    return Atlas(HOSTILE, HOSTILE, texts, labels, points, np.array([0.3, 0.2]), near, np.full(near.shape, 0.9),
                 np.array([0.9]), np.array([0.1]))


def report(*models: str, atlas: Atlas | None = None) -> Report:
    return make_report(runs_of(results(*models)), [atlas] if atlas else [], n_resamples=200)


class Tags(HTMLParser):
    """Which tags and attributes a browser would see, and the text of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, text: str) -> None:
        if self.tags[-1:] == ["script"] and text.strip():
            self.scripts.append(text)


def read(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    return tags


def test_hostile_texts_names_and_labels_stay_text() -> None:
    made = page(report("m3e<i>", HOSTILE, atlas=atlas_of([HOSTILE] * 30, [HOSTILE] * 30)))
    seen = read(made)
    assert not {"img", "i"} & set(seen.tags)
    assert seen.tags.count("script") == 2            # the map's texts and our own
    assert not {name for name in seen.attributes if name.startswith("on")}
    assert "\x1b" not in made
    data = json.loads(seen.scripts[0])
    assert data["texts"][0].startswith("</script><script>alert(1)")
    assert "<" not in seen.scripts[0]


def test_the_page_needs_nothing_from_elsewhere_and_runs_no_script_but_its_own() -> None:
    made = page(report("甲", "乙", atlas=atlas_of(POEMS, POEMS)))
    assert not {"src", "href", "action", "data"} & read(made).attributes
    assert not re.search(r"url\(|@import|https?://", made)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', made)
    digest = b64encode(sha256(read(made).scripts[-1].encode()).digest()).decode()
    assert f"script-src &#x27;sha256-{digest}&#x27;" in policy
    assert "default-src &#x27;none&#x27;" in policy


def test_the_page_tells_scores_verdicts_cautions_and_thresholds() -> None:
    made = page(report("甲模型", "乙模型"))
    for part in ("甲模型 against 乙模型", "not shown", "检索 &lt;b&gt;", "50% of the texts were too long",
                 "From which similarity on?", "belong together", "where 甲模型 does better than 乙模型"):
        assert part in made
    assert "prefers-color-scheme: dark" in made


def test_one_model_alone_is_shown_with_its_intervals() -> None:
    made = page(report("甲模型"))
    assert "against" not in made
    assert made.count('class="span plain"') == 1     # that of 句对 is not the score of its items


def test_a_map_of_five_thousand_points_stays_small() -> None:
    texts = [f"第{i}句：" + "床前明月光疑是地上霜" * 30 for i in range(5_000)]
    made = page(report("甲", atlas=atlas_of(texts, [f"标签{i % 40}" for i in range(5_000)])))
    assert len(made.encode()) < 4_000_000
    data = json.loads(read(made).scripts[0])
    assert len(data["names"]) == 10
    assert data["names"][-1] == "…"
    assert sum(data["sizes"]) == 5_000


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_page(report("甲"), tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert "甲" in (tmp_path / "report.html").read_text("utf-8")
    with pytest.raises(StorageFailed, match="Name another place"):
        write_page(report("甲"), tmp_path / "report.html" / "report.html")


def test_a_score_that_its_items_do_not_give_has_no_interval() -> None:
    retrieval, pairs = results("甲")
    assert score_of(retrieval).low < retrieval.main < score_of(retrieval).high
    assert np.isnan(score_of(pairs).low)


def test_an_interval_is_drawn_where_the_scale_says() -> None:
    """From -1 to 1 on 260 dots with a margin of 8: zero stands at 130."""
    drawn = interval(Estimate(0.0, -1.0, 1.0), (-1.0, 1.0), zero=True)
    assert 'cx="130.0"' in drawn
    assert 'x1="8.0" x2="252.0"' in drawn
    assert scale_of([Estimate(0.5, float("nan"), float("nan"))]) == (0.49, 0.51)
