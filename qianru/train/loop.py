"""The one loop: batches, steps, now and then an evaluation and a checkpoint; goes on exactly where it was stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from qianru.errors import BadInput, QianruError, SpecMismatch, StorageFailed, TrainingFailed, UnknownName
from qianru.models.base import Model, ModelSpec
from qianru.train.checkpoint import (
    Checkpoint,
    latest,
    read_checkpoint,
    read_tensors,
    write_checkpoint,
    write_tensors,
)
from qianru.train.config import TrainConfig
from qianru.train.data.sampler import Sampler
from qianru.train.data.sets import DataSet
from qianru.train.optimizer import Average, make_optimizer, rate, set_rate
from qianru.train.processes import ALONE, Processes
from qianru.train.record import Log
from qianru.train.stage import Stage
from qianru.train.start import restore

Evaluate: TypeAlias = Callable[[Model], Mapping[str, float]]
"""The model as it is now -> its scores, larger is better."""
SMOOTH = 0.98         # of the running mean of the loss: about 50 steps
SETTLED = 100         # steps before growth is judged
GROWN = 1.5           # times the mean loss of the beginning: worse than not trained at all
MOMENTS = ("exp_avg", "exp_avg_sq")


class Learner(Model, Protocol):
    """A model whose weights change; without its spec it makes a new one, with a new fingerprint."""

    _spec: ModelSpec | None

    @property
    def device(self) -> Any:
        """Where it runs, with a name."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """What a step reports."""

    step: int
    n_steps: int
    loss: float
    lr: float
    norm: float
    tokens_per_s: float
    left_s: float


@dataclass(slots=True)
class Memory:
    """What the loop remembers beside the weights. smooth: of the loss;  began: its value when it had settled"""

    step: int = 0
    smooth: float | None = None
    began: float | None = None
    best: float | None = None
    best_step: int = 0
    n_worse: int = 0


class Loop:
    """A training under way.

    config: settled, with nothing left to choose;  sets: its data;  run: folder for checkpoints and the log
    stage: what a step computes;  model: what the evaluation is given
    belongs: what a checkpoint must have been made with to be resumed here
    processes: that train together; the first evaluates and writes, all read
    """

    def __init__(
        self, config: TrainConfig, stage: Stage, model: Learner, sets: Sequence[DataSet], run: Path,
        belongs: Mapping[str, Any], *, evaluate: Evaluate | None = None,
        on_step: Callable[[Step], None] = lambda step: None, processes: Processes = ALONE,
    ) -> None:
        assert config.batch_size
        assert config.steps
        assert config.optimizer.lr
        self.config, self.stage, self.model, self.run, self.belongs = config, stage, model, run, dict(belongs)
        self.n_steps: int = config.steps
        self.evaluate, self.on_step, self.processes = evaluate, on_step, processes
        self.module = stage.module
        lengths = [data.n_chars for data in sets] if config.like_length else None
        self.sampler = Sampler([len(data) for data in sets], config.batch_size, config.seed, lengths=lengths,
                               weights=[data.config.weight for data in sets], temperature=config.sampling_temperature)
        self.optimizer = make_optimizer(self.module, config.optimizer, config.optimizer.lr)
        self.average = Average(list(self.module.parameters()), config.optimizer.ema) if config.optimizer.ema else None
        self.memory = Memory()
        self.log = Log(run / "log.jsonl")
        torch.manual_seed(config.seed + processes.rank)      # dropout differs between processes

    def go(self) -> Memory:
        """Trains to the end, or until patience is. The module then holds the best weights, or without an evaluation
        the last.

        Raises TrainingFailed if the loss is no number or grows, StorageFailed if a checkpoint cannot be written.
        """
        try:
            self._go()
        except OSError as error:
            if isinstance(error, QianruError):
                raise
            last = latest(self.run / "checkpoints")
            raise StorageFailed(f"{self.run} cannot be written: {error.strerror or error}. The last good checkpoint is "
                                f"{last}.") from error
        return self.memory

    def _go(self) -> None:
        every = self.config.evaluate_every or max(self.n_steps // 10, 1)
        saved = self.config.save_every or max(self.n_steps // 10, 1)
        if self.evaluate and self.memory.step == 0:
            self._judged()
        begun, n_tokens, first = time.perf_counter(), 0, self.memory.step
        while self.memory.step < self.n_steps:
            loss, norm, taken = self._step()
            n_tokens += taken
            step = self.memory.step
            passed = time.perf_counter() - begun
            lr = self.optimizer.param_groups[0]["lr"]
            if self.processes.first:
                self.log.write(step=step, loss=loss, lr=lr, norm=norm, tokens=taken)
            self.on_step(Step(step, self.n_steps, loss, lr, norm, n_tokens / passed,
                              passed / (step - first) * (self.n_steps - step)))
            if self.evaluate and (step % every == 0 or step == self.n_steps) and not self._judged():
                break
            if step % saved == 0 or step == self.n_steps:
                self.save()
        self._take_best()
        self.module.eval()

    def save(self) -> None:
        """Writes a checkpoint of this very moment."""
        weights: dict[str, Tensor] = dict(self.module.named_parameters())
        if self.average:
            weights |= {f"average/{i}": held for i, held in enumerate(self.average.held)}
        moments: dict[str, Tensor] = {f"random/cpu{rank or ''}": state for rank, state in
                                      enumerate(self.processes.copies(torch.get_rng_state()))}
        if self.model.device.name == "cuda":
            moments |= {f"random/cuda{rank or ''}": state for rank, state in
                        enumerate(self.processes.copies(torch.cuda.get_rng_state()))}
        if not self.processes.first:
            return
        for name, parameter in self.module.named_parameters():
            held = self.optimizer.state.get(parameter)
            moments |= {f"{moment}/{name}": held[moment] for moment in MOMENTS} if held else {}
        memory = {name: getattr(self.memory, name) for name in Memory.__slots__}
        state = {"memory": memory, "sampler": self.sampler.state(), "belongs": self.belongs}
        write_checkpoint(self.run / "checkpoints", self.memory.step, Checkpoint(weights, moments, state))

    def resume(self) -> bool:
        """Goes to the last checkpoint; False if there is none. SpecMismatch if it belongs to something else."""
        folder = latest(self.run / "checkpoints")
        if folder is None:
            return False
        held = read_checkpoint(folder)
        was = held.state.get("belongs", {})
        for name, value in self.belongs.items():
            if was.get(name) != value:
                raise SpecMismatch(f"{folder} was made with {name} = {was.get(name)!r:.80}; now it is {value!r:.80}. "
                                   "Resume with the same settings and data, or begin in another folder.")
        restore(self.module, held.weights)
        if self.average:
            for i, averaged in enumerate(self.average.held):
                averaged.copy_(held.weights[f"average/{i}"])
        self.memory = Memory(**held.state["memory"])
        self.sampler.go_to(held.state["sampler"])
        for name, parameter in self.module.named_parameters():
            if f"exp_avg/{name}" in held.optimizer:
                state: dict[str, Tensor] = {moment: held.optimizer[f"{moment}/{name}"].to(parameter.device)
                                            for moment in MOMENTS}
                steps = torch.tensor(float(self.memory.step), device=parameter.device)
                self.optimizer.state[parameter] = {"step": steps, **state}
        own = self.processes.rank or ""
        torch.set_rng_state(held.optimizer[f"random/cpu{own}"])
        if f"random/cuda{own}" in held.optimizer:
            torch.cuda.set_rng_state(held.optimizer[f"random/cuda{own}"])
        steps_of_all = [int(step) for step in self.processes.copies(torch.tensor(self.memory.step))]
        if len(set(steps_of_all)) > 1:
            raise SpecMismatch(f"The processes see checkpoints of the steps {steps_of_all}. Let all of them "
                               "read one folder.")
        if self.processes.first:
            self.log.cut(self.memory.step)
        return True

    def _step(self) -> tuple[float, float, int]:
        """(loss, length of the gradient, tokens) of one step of the optimizer."""
        self.module.train()
        total, n_tokens = 0.0, 0
        share = 1 / self.config.accumulate
        for _ in range(self.config.accumulate):
            loss, taken = self.stage.backward(self.sampler.draw(), self.memory.step, share)
            total += share * loss
            n_tokens += taken
        self.processes.sum_gradients(self.module.parameters())
        norm = float(clip_grad_norm_(self.module.parameters(), self.config.optimizer.max_norm))
        self._check(total, norm)
        set_rate(self.optimizer, rate(self.memory.step, self.n_steps, self.config.optimizer))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average:
            self.average.update()
        self.memory.step += 1
        return total, norm, n_tokens

    def _check(self, loss: float, norm: float) -> None:
        """TrainingFailed if nothing good can come of going on."""
        memory, step = self.memory, self.memory.step + 1
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise TrainingFailed(f"Step {step}: the loss is {loss} and its gradient's length {norm}. Try a lower "
                                 f"learning rate (it is {self.config.optimizer.lr}), a higher temperature "
                                 f"({self.config.loss.temperature}) or precision = \"float32\"; the last checkpoint "
                                 "is from before.")
        memory.smooth = loss if memory.smooth is None else SMOOTH * memory.smooth + (1 - SMOOTH) * loss
        if step == min(SETTLED // 2, self.n_steps):
            memory.began = memory.smooth
        if memory.began is not None and step > SETTLED and memory.smooth > GROWN * memory.began + 0.1:
            raise TrainingFailed(f"Step {step}: the loss has grown from {memory.began:.4g} to {memory.smooth:.4g}. Try "
                                 f"a lower learning rate (it is {self.config.optimizer.lr}), a longer warm-up "
                                 f"({self.config.optimizer.warmup}) or a higher temperature "
                                 f"({self.config.loss.temperature}).")

    def _judged(self) -> bool:
        """Whether to go on: the first process evaluates, the others wait for what it says."""
        return self.processes.said_by_first(self._judge() if self.processes.first else True)

    def _judge(self) -> bool:
        """Evaluates and keeps the weights if they are the best; False when patience is at its end."""
        assert self.evaluate is not None
        if self.average:
            self.average.swap()
        self.module.eval()
        self.model._spec = None            # other weights, another fingerprint
        random = torch.get_rng_state()     # an evaluation that draws must not change the training
        scores = dict(self.evaluate(self.model))
        torch.set_rng_state(random)
        metric = self.config.metric or next(iter(scores), None)
        if metric is None:
            raise BadInput("The evaluation returned no score. It must return at least one, by name.")
        if metric not in scores:
            raise UnknownName("metric", metric, scores, "in the evaluation")
        self.log.write(step=self.memory.step, scores=scores)
        score, memory = float(scores[metric]), self.memory
        if memory.best is None or score > memory.best:
            memory.best, memory.best_step, memory.n_worse = score, memory.step, 0
            self._keep_best()
        else:
            memory.n_worse += 1
        if self.average:
            self.average.swap()
        return self.config.patience is None or memory.n_worse < self.config.patience

    def _keep_best(self) -> None:
        new, path = self.run / ".best.safetensors", self.run / "best.safetensors"
        self.run.mkdir(parents=True, exist_ok=True)
        write_tensors(new, dict(self.module.named_parameters()))
        new.replace(path)

    def _take_best(self) -> None:
        if self.evaluate and self.processes.first:
            restore(self.module, read_tensors(self.run / "best.safetensors"))
        elif self.average and not self.evaluate:
            self.average.swap()
