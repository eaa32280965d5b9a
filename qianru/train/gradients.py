"""The gradient of one batch: in one pass, or, where its activations would not fit, in two (GradCache).

    first pass     every text embedded without a graph; the loss of all vectors; its gradient by each vector
    second pass    one packed batch after the other embedded again, with a graph, and that gradient sent through it

The gradient is the same; memory is that of one packed batch; time is a third more.
Source: Gao et al. 2021 (GradCache, arXiv 2101.06983).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from qianru.runtime.packing import Packed
from qianru.train.vectors import Forward, Part, Rows, Vectors

AT_ONCE = 4096   # tokens of a packed batch on a CPU; more gain nothing, and a cached pass keeps as many in memory
Loss = Callable[[Vectors, Vectors], Tensor]


def backward(
    forward: Forward, queries: Rows, documents: Rows, loss: Loss, *, memory_tokens: int, share: float = 1.0
) -> float:
    """Adds share times the gradient of loss(queries, documents) to the parameters; the loss itself.

    memory_tokens: how many tokens' activations may be kept at once; a batch with more takes two passes
    """
    at_once = min(memory_tokens, AT_ONCE) if forward.device == "cpu" else memory_tokens
    if queries.n_tokens + documents.n_tokens <= memory_tokens:
        value = loss(forward.vectors(queries, at_once), forward.vectors(documents, at_once))
        (value * share).backward()   # type: ignore[no-untyped-call]
        return value.item()
    sides = [(rows, *forward.packed(rows, at_once)) for rows in (queries, documents)]
    states: list[list[Tensor]] = []        # of the random numbers before each packed batch: dropout must fall alike
    leaves: list[list[Part]] = []
    for rows, batches, _ in sides:
        states.append([])
        leaves.append([])
        for batch in batches:
            states[-1].append(_random_state(forward.device))
            leaves[-1].append(_leaves(forward, batch, rows.skip))
    value = loss(*(Vectors(parts, places, forward.width)
                   for parts, (_, _, places) in zip(leaves, sides, strict=True)))
    (value * share).backward()   # type: ignore[no-untyped-call]
    with _random_kept(forward.device):
        for (rows, batches, _), parts, before in zip(sides, leaves, states, strict=True):
            for batch, part, state in zip(batches, parts, before, strict=True):
                _set_random_state(forward.device, state)
                again = forward(batch, rows.skip).tensors()
                pairs = [(tensor, leaf.grad) for tensor, leaf in zip(again, part.tensors(), strict=True)
                         if leaf.grad is not None]
                torch.autograd.backward([tensor for tensor, _ in pairs], [grad for _, grad in pairs])
    return value.item()


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
