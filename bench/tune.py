"""What tuning a plan gains: nDCG@10 on the half of the questions that was not learnt from, and how long it takes.

    python bench/tune.py            # prints one line of JSON and a table
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import data_folder, report
from retrieval import Task, ndcg_at_10, tasks

from qianru import Collection, Document
from qianru.models import load
from qianru.models.word2vec import Word2Vec
from qianru.text.analyze import Analyzer
from qianru.use.labels import Labelled
from qianru.use.tune import interval_of, tune


def measure(task: Task) -> dict[str, Any]:
    order = np.random.default_rng(0).permutation(len(task.questions))
    learnt, held = order[: len(order) // 2].tolist(), order[len(order) // 2 :].tolist()
    vectors = Word2Vec(dim=128, min_count=2, seed=1, workers=1, analyzer=Analyzer(fold_script=True)).fit(task.passages)
    with tempfile.TemporaryDirectory() as folder, Collection.create(Path(folder) / "c", [load("bm25"), vectors]) as c:
        c.add([Document(str(i), passage) for i, passage in enumerate(task.passages)])
        begun = time.process_time()
        found = tune(c, [Labelled(task.questions[i], {str(task.right[i]): 1}) for i in learnt])
        cpu_s = time.process_time() - begun
        part = Task(task.name, task.passages, [task.questions[i] for i in held], [task.right[i] for i in held])
        plans: dict[str, Any] = {"sparse": {"kinds": ["sparse"]}, "dense": {"kinds": ["dense"]}, "rrf": "rrf",
                                 "tuned": found.plan}
        values = {name: np.array(ndcg_at_10(part, [[(int(hit.id), hit.score) for hit in hits] for hits in
                                                   c.search_many(part.questions, 10, plan=plan)]))
                  for name, plan in plans.items()}
    better = max(("sparse", "dense"), key=lambda name: values[name].mean())
    return {
        "n_learnt": len(learnt), "n_held": len(held), "cpu_s": round(cpu_s, 1), "plan": found.plan.to_dict(),
        "ndcg_at_10": {name: round(float(value.mean()), 4) for name, value in values.items()},
        "tuned_minus_better_part": [round(x, 4) for x in interval_of(values["tuned"] - values[better])],
        "tuned_minus_rrf": [round(x, 4) for x in interval_of(values["tuned"] - values["rrf"])],
    }


def main() -> None:
    results = {}
    for task in tasks(data_folder()):
        results[task.name] = measure(task)
        print(task.name, json.dumps(results[task.name], ensure_ascii=False), file=sys.stderr)
    report("tune", ["pytrec-eval-terrier"], tasks=results)


if __name__ == "__main__":
    main()
