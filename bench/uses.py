"""Clusters and labels of the open sets: Qianru's own and scikit-learn's usual code on TF-IDF, in one run.

    python bench/uses.py [--model NAME] [--only clusters|labels] [--sets tnews,waimai]

Clusters: v-measure with as many clusters as there are labels, mean of five seeds, and with the number chosen.
Labels: accuracy and macro F1 on the test texts, and the expected calibration error (15 bins); of scikit-learn's code
too: TfidfVectorizer over jieba's words, LogisticRegression with the same strength, and with its own default.
Few: from 8 examples a label, mean of five draws. Qianru's default sees words and its own model; also words alone, and
with --model that model alone, and beside the words, both counting alike.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import sys
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import data_folder, read_text, report

SEEDS = 5
FEW = 8
Texts = tuple[list[str], list[str]]


def clustered(data: Path) -> dict[str, Texts]:
    """Name -> texts and their labels."""
    folder = data / "classification"
    found = {name: _columns(folder / f"{name}/dev.tsv") for name in ("csl_ctg", "csl_dcp")}
    found["tnews"] = _lines(folder / "fewclue_tnews/test_public.json", "sentence", "label_desc")
    found["csldcp"] = _lines(folder / "fewclue_csldcp/dev_few_all.json.gz", "content", "label")
    found["iflytek"] = _lines(folder / "fewclue_iflytek/dev_few_all.json.gz", "sentence", "label_des")
    reviews = _shopping(folder)[::10]
    found["shopping"] = [row["review"] for row in reviews], [row["cat"] for row in reviews]
    return found


def labelled(data: Path) -> dict[str, tuple[Texts, Texts]]:
    """Name -> texts with labels to learn from, and to test on."""
    folder = data / "classification"
    found = {
        name: tuple(_lines(folder / f"fewclue_{name}/{file}", text, label) for file in files)
        for name, text, label, *files in (
            ("tnews", "sentence", "label_desc", "train_few_all.json", "test_public.json"),
            ("eprstmt", "sentence", "label", "train_few_all.json", "test_public.json"),
            ("csldcp", "content", "label", "train_few_all.json.gz", "dev_few_all.json.gz"),
            ("iflytek", "sentence", "label_des", "train_few_all.json.gz", "dev_few_all.json.gz"))}
    found["csl_ctg"] = _columns(folder / "csl_ctg/train.tsv.gz"), _columns(folder / "csl_ctg/dev.tsv")
    meals = [row for row in csv.DictReader(io.StringIO(read_text(folder / "waimai_10k.csv.gz"))) if row["review"]]
    found["waimai"] = _halves([(row["review"], row["label"]) for row in meals], 3000)
    bought = _shopping(folder)
    found["shopping_kind"] = _halves([(row["review"], row["cat"]) for row in bought], 4000)
    found["shopping_mood"] = _halves([(row["review"], row["label"]) for row in bought], 4000)
    return found      # type: ignore[return-value]


def clusters(name: str, texts: list[str], labels: list[str], model: Any) -> dict[str, Any]:
    """The v-measures of one set."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import v_measure_score

    from qianru.use.cluster import cluster, from_texts

    k = len(set(labels))
    matrix = _theirs().fit_transform(texts)
    figures: dict[str, Any] = {"n_texts": len(texts), "n_labels": k, "scikit-learn": _mean(
        v_measure_score(labels, KMeans(k, n_init=5, random_state=seed).fit_predict(matrix)) for seed in range(SEEDS))}
    named = list(zip(map(str, range(len(texts))), texts, strict=True))
    for view, its in {"qianru": None, **({} if model is None else {model.spec.name: model})}.items():
        vectors = from_texts(named, its).views
        figures[view] = _mean(v_measure_score(labels, cluster(vectors, texts, k=k, seed=seed).labels)
                              for seed in range(SEEDS))
        chosen = cluster(vectors, texts)
        figures[f"{view}, number chosen"] = [chosen.k, round(v_measure_score(labels, chosen.labels), 4)]
    return figures


def labels(name: str, train: Texts, test: Texts, model: Any) -> dict[str, Any]:
    """Accuracy, macro F1 and calibration error of one set."""
    from qianru.models.joined import JoinedModel
    from qianru.use.material import word_model

    train = _without_single(train)
    figures: dict[str, Any] = {"n_train": len(train[0]), "n_test": len(test[0]), "n_labels": len(set(train[1])),
                               "scikit-learn, C=1": _sklearn(train, test, 1.0),
                               "scikit-learn, C=10": _sklearn(train, test, 10.0)}
    views: dict[str, Callable[[Texts], Any]] = {"qianru": lambda some: None,
                                                "words": lambda some: word_model().fit(some[0])}
    if model is not None:
        views[model.spec.name] = lambda some: model
        views["both"] = lambda some: JoinedModel([word_model().fit(some[0]), model])
    for view, its in views.items():
        start = time.process_time()
        figures[view] = _ours(train, test, its(train)) | {"cpu_s": round(time.process_time() - start, 1)}
    few = [_few(train, seed) for seed in range(SEEDS)]
    figures[f"from {FEW} a label"] = {
        "scikit-learn, C=10": _mean(_sklearn(some, test, 10.0)["accuracy"] for some in few),
        **{view: _mean(_ours(some, test, its(some))["accuracy"] for some in few) for view, its in views.items()}}
    return figures


def _ours(train: Texts, test: Texts, model: Any) -> dict[str, float]:
    from qianru.use.classify import fit_classifier

    classifier, judged = fit_classifier(*train, model)
    found = classifier.predict(test[0])
    best = [classifier.labels[i] for i in found.probabilities.argmax(axis=1).tolist()]
    return _figures(test[1], best, found.confidence) | {
        "cross-validated accuracy": round(judged.accuracy, 4),
        "cross-validated calibration error": round(judged.calibration_error, 4)}


def _sklearn(train: Texts, test: Texts, strength: float) -> dict[str, float]:
    from sklearn.linear_model import LogisticRegression

    words = _theirs()
    model = LogisticRegression(C=strength, max_iter=200).fit(words.fit_transform(train[0]), train[1])
    shares = model.predict_proba(words.transform(test[0]))
    return _figures(test[1], model.classes_[shares.argmax(axis=1)].tolist(), shares.max(axis=1))


def _figures(truth: list[str], told: list[str], confidence: Any) -> dict[str, float]:
    from sklearn.metrics import f1_score

    from qianru.use.classify.calibration import calibration_error

    right = np.array(truth) == np.array(told)
    return {"accuracy": round(float(right.mean()), 4),
            "macro_f1": round(float(f1_score(truth, told, average="macro", zero_division=0)), 4),
            "calibration_error": round(calibration_error(np.asarray(confidence), right), 4)}


def _theirs() -> Any:
    import jieba
    from sklearn.feature_extraction.text import TfidfVectorizer

    jieba.setLogLevel(60)
    return TfidfVectorizer(tokenizer=jieba.lcut, token_pattern=None)


def _few(train: Texts, seed: int) -> Texts:
    rows: dict[str, list[int]] = defaultdict(list)
    order = list(range(len(train[0])))
    random.Random(seed).shuffle(order)
    for row in order:
        if len(rows[train[1][row]]) < FEW:
            rows[train[1][row]].append(row)
    chosen = sorted(row for some in rows.values() for row in some)
    return [train[0][row] for row in chosen], [train[1][row] for row in chosen]


def _without_single(texts: Texts) -> Texts:
    counts = Counter(texts[1])
    kept = [i for i, (text, label) in enumerate(zip(*texts, strict=True)) if counts[label] > 1 and text.strip()]
    return [texts[0][i] for i in kept], [texts[1][i] for i in kept]


def _lines(path: Path, text: str, label: str) -> Texts:
    rows = [json.loads(line) for line in read_text(path).split("\n") if line.strip()]
    return [row[text] for row in rows], [str(row[label]) for row in rows]


def _columns(path: Path) -> Texts:
    rows = [line.split("\t") for line in read_text(path).split("\n") if line.strip()]
    return [row[1] for row in rows], [row[2] for row in rows]


def _shopping(folder: Path) -> list[dict[str, str]]:
    with zipfile.ZipFile(folder / "online_shopping_10_cats.zip") as archive:
        name = next(name for name in archive.namelist() if name.endswith(".csv"))
        rows = csv.DictReader(io.StringIO(archive.read(name).decode("utf-8-sig")))
        return [row for row in rows if (row["review"] or "").strip()]


def _halves(rows: list[tuple[str, str]], n: int) -> tuple[Texts, Texts]:
    random.Random(0).shuffle(rows)
    first, second = rows[:n], rows[n : 2 * n]
    return tuple(([text for text, _ in half], [label for _, label in half])      # type: ignore[return-value]
                 for half in (first, second))


def _mean(values: Any) -> float:
    return round(float(np.mean(list(values))), 4)


def main() -> None:
    """Runs all, prints one line for each set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--only", choices=["clusters", "labels"])
    parser.add_argument("--sets", default="")
    given = parser.parse_args()
    model = None
    if given.model:
        from qianru.models import load

        model = load(given.model)
    data, wanted = data_folder(), [name for name in given.sets.split(",") if name]
    packages = ["qianru", "scikit-learn", "jieba", "numpy"]
    if given.only != "labels":
        for name, (texts, truth) in clustered(data).items():
            if not wanted or name in wanted:
                report(f"clusters of {name}", packages, **clusters(name, texts, truth, model))
                sys.stdout.flush()
    if given.only != "clusters":
        for name, (train, test) in labelled(data).items():
            if not wanted or name in wanted:
                report(f"labels of {name}", packages, **labels(name, train, test, model))
                sys.stdout.flush()


if __name__ == "__main__":
    main()
