"""Several processes that train one model: each embeds its share of the batch, all see the loss of the whole batch.

    every process   draws the same batch, tokenizes it, embeds every n-th text of it, longest first
    gather          the vectors of all processes, at their places; its own carry gradients, the others' are numbers
    loss            of the whole batch, in every process: whatever it is, its targets point into the whole batch
    sum             of the parameters' gradients: what one process would have had

So no loss knows of processes, and the gradient is exact for those too that are no sum over rows. Started by torchrun:
gloo between CPUs, nccl between GPUs.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

BUCKET = 1 << 23   # numbers that are summed at once


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among `size`. rank: its number, from 0; number 0 evaluates and writes"""

    rank: int = 0
    size: int = 1

    @classmethod
    def joined(cls) -> Processes:
        """Those that torchrun has started, or whose group has been made; alone without either."""
        from torch import distributed

        if not distributed.is_available():
            return ALONE
        if not distributed.is_initialized():
            if not distributed.is_torchelastic_launched():
                return ALONE
            distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
            atexit.register(_leave)
        if torch.cuda.is_available() and distributed.is_torchelastic_launched():
            torch.cuda.set_device(distributed.get_node_local_rank())
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this one evaluates and writes."""
        return self.rank == 0

    def gather(self, own: Sequence[Tensor], shapes: Sequence[Sequence[torch.Size]]) -> list[list[Tensor]]:
        """Every process's tensors, this one's as they are, those of the others without gradients.

        shapes: of the tensors of each process, which all know;  all are float32
        """
        if self.size == 1:
            return [list(own)]
        sizes = [sum(shape.numel() for shape in held) for held in shapes]
        device = own[0].device if own else torch.device("cpu")
        sent = torch.zeros(max(sizes), device=device)          # of one length, as gathering wants them
        if own:
            sent[: sizes[self.rank]] = torch.cat([tensor.detach().float().flatten() for tensor in own])
        return [list(own) if rank == self.rank else _parted(whole, held)
                for rank, (whole, held) in enumerate(zip(self.copies(sent), shapes, strict=True))]

    def copies(self, own: Tensor) -> list[Tensor]:
        """The tensor of every process, all of one shape."""
        from torch import distributed

        if self.size == 1:
            return [own]
        held = [torch.empty_like(own) for _ in range(self.size)]
        distributed.all_gather(held, own)
        return held

    def sum(self, values: Tensor) -> None:
        """Puts the sum over all processes in the place of each one's."""
        from torch import distributed

        if self.size > 1:
            distributed.all_reduce(values)

    @torch.no_grad()
    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Each parameter's gradient becomes the sum of all processes'; None only where no process has one."""
        if self.size == 1:
            return
        all_of_them = list(parameters)
        has = torch.tensor([float(p.grad is not None) for p in all_of_them], device=all_of_them[0].device)
        self.sum(has)
        bucket: list[nn.Parameter] = []
        for parameter in [p for p, n in zip(all_of_them, has.tolist(), strict=True) if n]:
            bucket.append(parameter)
            if sum(p.numel() for p in bucket) >= BUCKET:
                self._sum_bucket(bucket)
                bucket = []
        if bucket:
            self._sum_bucket(bucket)

    def _sum_bucket(self, parameters: Sequence[nn.Parameter]) -> None:
        whole = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
        self.sum(whole)
        for parameter, part in zip(parameters, _parted(whole, [p.shape for p in parameters]), strict=True):
            parameter.grad = part.clone()

    def said_by_first(self, word: bool) -> bool:
        """What process 0 says; the others wait for it."""
        from torch import distributed

        if self.size == 1:
            return word
        said = torch.tensor([float(word)])
        distributed.broadcast(said, 0)
        return bool(said.item())


ALONE = Processes()


def _leave() -> None:
    """Ends the group's threads; a process that exits beside them may be aborted."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def _parted(whole: Tensor, shapes: Iterable[torch.Size]) -> list[Tensor]:
    """Tensors of these shapes from the beginning of one row of numbers."""
    found, at = [], 0
    for shape in shapes:
        found.append(whole[at : at + shape.numel()].view(shape))
        at += shape.numel()
    return found
