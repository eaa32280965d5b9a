"""The gradient of one batch: in one pass, or, where its activations would not fit, in two (GradCache).

    first pass     every text embedded without a graph; the loss of all vectors; its gradient by each vector
    second pass    one packed batch after the other embedded again, with a graph, and that gradient sent through it

The gradient is the same; memory is that of one packed batch, whatever was freed meanwhile; time is a third more.
Source: Gao et al. 2021 (GradCache, arXiv 2101.06983).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from qianru.runtime.packing import Packed
from qianru.runtime.pages import give_back
from qianru.train.processes import ALONE, Processes
from qianru.train.vectors import Forward, Part, Rows, Vectors

AT_ONCE = 4096   # tokens of a packed batch on a CPU; more gain nothing
CACHED = 1024    # of one whose activations are all that is kept: a tenth more time, a fifth of the memory
Loss = Callable[[Vectors, Vectors], Tensor]


def backward(
    forward: Forward, queries: Rows, documents: Rows, loss: Loss, *, memory_tokens: int, share: float = 1.0,
    processes: Processes = ALONE,
) -> float:
    """Adds share times the gradient of loss(queries, documents) to the parameters; the loss itself.

    memory_tokens: how many tokens' activations a process may keep at once; a batch with more takes two passes
    processes: all call this with the same texts; their parameters' gradients, summed, are the gradient
    """
    cached = queries.n_tokens + documents.n_tokens > memory_tokens * processes.size
    most = CACHED if cached else AT_ONCE
    at_once = min(memory_tokens, most) if forward.device == "cpu" else memory_tokens
    sides = [(rows, *forward.shared(rows, at_once, processes.size)) for rows in (queries, documents)]
    states: list[list[Tensor]] = []        # of the random numbers before each packed batch: dropout must fall alike
    own: list[list[Part]] = []
    for rows, shares, _ in sides:
        states.append([])
        own.append([])
        for batch in shares[processes.rank]:
            states[-1].append(_random_state(forward.device) if cached else torch.empty(0))
            own[-1].append(_leaves(forward, batch, rows.skip) if cached else forward(batch, rows.skip))
    value = loss(*(Vectors(_of_all(forward, parts, shares, processes), places, forward.width)
                   for parts, (_, shares, places) in zip(own, sides, strict=True)))
    if value.requires_grad:                # not if this process has no text of a small batch
        (value * share).backward()   # type: ignore[no-untyped-call]
    if not cached:
        return value.item()
    with _random_kept(forward.device):
        for (rows, shares, _), parts, before in zip(sides, own, states, strict=True):
            for batch, part, state in zip(shares[processes.rank], parts, before, strict=True):
                _set_random_state(forward.device, state)
                again = forward(batch, rows.skip).tensors()
                pairs = [(tensor, leaf.grad) for tensor, leaf in zip(again, part.tensors(), strict=True)
                         if leaf.grad is not None]
                torch.autograd.backward([tensor for tensor, _ in pairs], [grad for _, grad in pairs])
                del again, pairs
                give_back()
    return value.item()


def _of_all(
    forward: Forward, own: list[Part], shares: Sequence[Sequence[Packed]], processes: Processes
) -> list[Part]:
    """The parts of all processes, in their order."""
    if processes.size == 1:
        return own
    shapes = [[shape for batch in batches for shape in forward.shapes(batch)] for batches in shares]
    held = processes.gather([tensor for part in own for tensor in part.tensors()], shapes)
    parts: list[Part] = []
    for rank, (batches, tensors) in enumerate(zip(shares, held, strict=True)):
        each = len(tensors) // max(len(batches), 1)
        parts += own if rank == processes.rank else [
            forward.part(batch, tensors[i * each : (i + 1) * each]) for i, batch in enumerate(batches)]
    return parts


def _leaves(forward: Forward, batch: Packed, skip: int) -> Part:
    with torch.no_grad():
        part = forward(batch, skip)
    return part.with_tensors([tensor.detach().requires_grad_() for tensor in part.tensors()])


def _random_state(device: str) -> Tensor:
    return torch.get_rng_state() if device == "cpu" else torch.cuda.get_rng_state()


def _set_random_state(device: str, state: Tensor) -> None:
    torch.set_rng_state(state) if device == "cpu" else torch.cuda.set_rng_state(state)


@contextmanager
def _random_kept(device: str) -> Iterator[None]:
    state = _random_state(device)
    yield
    _set_random_state(device, state)
