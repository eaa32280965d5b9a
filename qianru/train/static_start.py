"""Where a new table begins: tokens that stand in like texts begin with like vectors.

The main directions of the matrix texts x tokens, rows brought to length 1 and columns weighted by idf: latent semantic
analysis (Deerwester et al. 1990), found by random projections (Halko, Martinsson and Tropp 2011).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from qianru.models.static import StaticModel
from qianru.types import FloatArray, SparseRows

AT_ONCE = 4096         # texts
MOST_TEXTS = 300_000
N_ROUNDS = 3           # of the power iteration
OWN = 0.5              # what a token keeps of its random direction: like tokens are not the same


def contexts(model: StaticModel, texts: Iterable[str], rows: Tensor) -> Tensor:
    """(v, d) rows: of length 1 along the main directions, plus OWN times the random ones.

    model: whose tokens they are;  rows: (v, d) random directions, which the search for main ones begins with
    """
    blocks = list(_weighted(model, texts, len(rows)))
    basis = torch.linalg.qr(rows)[0]
    for _ in range(N_ROUNDS):
        basis = torch.linalg.qr(sum((_back_and_forth(block, basis) for block in blocks), torch.zeros(())))[0]
    product = torch.stack([_through(block, basis).T @ _through(block, basis) for block in blocks]).sum(0)   # (d, d)
    sizes, turn = torch.linalg.eigh(product)
    found = (basis @ turn.flip(1)) * sizes.flip(0).clamp_min(0).sqrt().sqrt()      # largest first
    lengths = found.norm(dim=1, keepdim=True)
    return torch.where(lengths > 0, found / lengths.clamp_min(1e-12), torch.zeros(())) + OWN * rows


def _through(block: SparseRows, basis: Tensor) -> Tensor:
    """(n, d) the block's rows times the basis."""
    return embedding_bag(torch.from_numpy(block.terms), basis, torch.from_numpy(block.offsets[:-1]), mode="sum",
                         per_sample_weights=torch.from_numpy(block.weights))


def _back_and_forth(block: SparseRows, basis: Tensor) -> Tensor:
    """(v, d) block.T times block times basis: the gradient of half the squares of the block's rows times the basis."""
    with torch.enable_grad():
        basis = basis.detach().requires_grad_()
        squares = _through(block, basis).square().sum() / 2
        return torch.autograd.grad(squares, basis)[0]


def _weighted(model: StaticModel, texts: Iterable[str], n_tokens: int) -> Iterator[SparseRows]:
    """The texts' counts, damped, by idf, each row of length 1."""
    once = islice(iter(dict.fromkeys(texts)), MOST_TEXTS)
    counts: list[SparseRows] = []
    while some := list(islice(once, AT_ONCE)):
        counts.append(model.counts(some)[0])
    frequency = np.bincount(np.concatenate([block.terms for block in counts]), minlength=n_tokens)
    idf = np.log(sum(map(len, counts)) / np.maximum(frequency, 1)) + 1
    for block in counts:
        weights: FloatArray = (1 + np.log(block.weights)) * idf[block.terms]
        rows = SparseRows(block.offsets, block.terms, weights, block.width)
        lengths = np.maximum(rows.norms(), 1e-12)
        unit = (weights / np.repeat(lengths, np.diff(block.offsets))).astype(np.float32)
        yield SparseRows(block.offsets, block.terms, unit, block.width)
