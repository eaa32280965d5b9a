"""Tasks as what a training is steered by: the same evaluation as afterwards, of the weights as they are now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from qianru.errors import BadInput
from qianru.evaluate.run import How, evaluate
from qianru.evaluate.task import Task
from qianru.models.base import Model

MEAN = "mean"


class OnTasks:
    """Called with a model, gives its main score on each task by the task's name; qianru.train takes it as `evaluate`.

    Of several tasks the mean comes first, as "mean": the first score is that by which a training keeps its weights.
    Vectors are not cached, as the weights are others each time.
    """

    def __init__(self, tasks: Sequence[Task], how: How = How()) -> None:
        if not tasks:
            raise BadInput("There is no task to evaluate on. Name one at least.")
        self._tasks, self._how = tuple(tasks), replace(how, cache=None)

    def __call__(self, model: Model) -> Mapping[str, float]:
        """Raises what `evaluate` raises: a training whose evaluation fails must not go on as if it had none."""
        scores = {task.name: evaluate(model, task, self._how).main for task in self._tasks}
        return scores if len(scores) == 1 else {MEAN: sum(scores.values()) / len(scores), **scores}
