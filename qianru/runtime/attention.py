"""Attention within each text of a packed batch: no token sees another text, none is padding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from itertools import groupby

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from qianru.runtime.packing import Packed
from qianru.types import IntArray

LONGEST_PRODUCT = 1024   # tokens; the scores of all pairs of longer texts would take too much memory
SHORT = 32               # tokens of a text; for longer ones torch's own products are quicker
_NOTHING = torch.zeros(1, dtype=torch.bfloat16)   # to be multiplied by 0: baddbmm scales on its way, bmm does not


def attend(
    query: Tensor, key: Tensor, value: Tensor, batch: Packed, *, causal: bool = False, window: int | None = None
) -> Tensor:
    """(total, n_heads * d) softmax(q k' / sqrt(d)) v within each row.

    query: (total, n_heads, d);  key, value: (total, n_key_heads, d), each serving n_heads / n_key_heads query heads
    causal: a token sees itself and what stands before it;  window: of these the last so many, itself among them
    """
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        return _attend_at_once(query, key, value, batch, causal, window)
    shared = query.shape[1] != key.shape[1]
    plain = query.dtype == torch.bfloat16 and not (shared or causal)
    inside: Callable[..., Tensor] = _by_products if plain else partial(_by_torch, window=window)
    parts = [
        inside(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), causal, shared)
        .transpose(1, 2).flatten(0, 1).flatten(1)   # (n, heads, length, d) -> (n * length, heads * d)
        for q, k, v in zip(batch.grouped(query), batch.grouped(key), batch.grouped(value), strict=True)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def attend_fused(qkv: Tensor, n_heads: int, batch: Packed) -> Tensor:
    """(total, n_heads * d) the same without gradients, for query, key and value as one product makes them.

    qkv: (total, 3 * n_heads * d) on the CPU
    Each text's way hangs on its own length alone: the two round differently, and no text may depend on its neighbours.
    """
    attend_short = _short()
    if attend_short is None:
        return _attend_parts(qkv, n_heads, batch)
    made = []
    for is_short, groups in groupby(batch.groups, lambda group: group.length <= SHORT):
        stretch = tuple(groups)
        start, stop = stretch[0].start, stretch[-1].tokens.stop
        offsets = batch.offsets[(batch.offsets >= start) & (batch.offsets <= stop)] - start
        if is_short:
            made.append(attend_short(qkv[start:stop], offsets, n_heads))
        else:
            own = tuple(group._replace(start=group.start - start) for group in stretch)
            made.append(_attend_parts(qkv[start:stop], n_heads, replace(batch, offsets=offsets, groups=own)))
    return made[0] if len(made) == 1 else torch.cat(made)


def _attend_parts(qkv: Tensor, n_heads: int, batch: Packed) -> Tensor:
    query, key, value = qkv.view(len(qkv), 3, n_heads, -1).unbind(1)
    return attend(query, key, value, batch)


@cache
def _short() -> Callable[[Tensor, IntArray, int], Tensor] | None:
    """For texts of a few tokens, if numba is there."""
    try:
        from qianru.runtime.attention_numba import attend_short
    except ImportError:
        return None
    return attend_short


def _by_torch(
    query: Tensor, key: Tensor, value: Tensor, causal: bool, shared: bool, window: int | None
) -> Tensor:
    length = query.shape[2]
    if causal and window is not None and window < length:
        seen = torch.ones(length, length, dtype=torch.bool, device=query.device).tril().triu(1 - window)
        return scaled_dot_product_attention(query, key, value, attn_mask=seen, enable_gqa=shared)
    return scaled_dot_product_attention(query, key, value, is_causal=causal, enable_gqa=shared)


def _by_products(query: Tensor, key: Tensor, value: Tensor, causal: bool, shared: bool) -> Tensor:
    """The same in bfloat16 on a CPU: oneDNN's plain products are 2 to 4 times as fast as torch's fused attention,
    backward too.
    """
    n, n_heads, length, d = query.shape
    if length > LONGEST_PRODUCT:
        return scaled_dot_product_attention(query, key, value)
    q, k, v = (states.reshape(n * n_heads, length, d) for states in (query, key, value))
    scores = torch.baddbmm(_NOTHING, q, k.transpose(1, 2), beta=0, alpha=d**-0.5)   # (n * n_heads, length, length)
    shares = scores.softmax(-1) if scores.requires_grad else _softmax()(scores)     # numba's carries no gradient
    return torch.bmm(shares, v).view(n, n_heads, length, d)


@cache
def _softmax() -> Callable[[Tensor], Tensor]:
    """Of bfloat16 scores, by numba if it is there."""
    try:
        from qianru.runtime.softmax_numba import softmax_
    except ImportError:
        return partial(torch.softmax, dim=-1)
    return softmax_


def _attend_at_once(
    query: Tensor, key: Tensor, value: Tensor, batch: Packed, causal: bool, window: int | None
) -> Tensor:
    """All rows in one kernel, on a GPU."""
    from torch.nn.attention.varlen import varlen_attn

    before = -1 if window is None else window - 1
    mixed = varlen_attn(
        query, key, value, batch.boundaries, batch.boundaries, batch.longest, batch.longest,
        window_size=(before, 0) if causal else (-1, -1), enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(mixed, Tensor)
    return mixed.flatten(1)
