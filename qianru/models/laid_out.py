"""The layers of a network, laid out for the processor one by one, or their weights would be in memory twice."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from qianru.models.backbone import Backbone
from qianru.runtime.int8 import warm_up
from qianru.runtime.linear import pack, packed_weights
from qianru.runtime.options import Precision
from qianru.runtime.pages import use_large_pages
from qianru.types import FloatArray

WORTH_RELEASING = 16 << 20   # bytes of weights: to ask the system what lies where takes longer than to lay out few


def lay_out(
    backbone: Backbone, precision: Precision, release: Callable[[], None], probe: Callable[[], FloatArray]
) -> tuple[FloatArray, FloatArray] | None:
    """What probe gave before and after, if the precision is one to be watched: int8.

    release: called now and then: nobody reads those layers' weights as they came any more
    probe: one forward pass;  each layer is laid out behind it, so that its weights come from the disk only once
    """
    done_with = 0

    def lay_out_one(layer: Any, *states: Any) -> None:
        nonlocal done_with
        done_with += sum(parameter.nbytes for parameter in layer.parameters())
        with torch.inference_mode(False):
            pack(layer, precision)
        if done_with > WORTH_RELEASING:
            release()
            done_with = 0

    if precision != "int8":
        for layer in backbone.layers:
            lay_out_one(layer)
        backbone.fuse(precision)
        use_large_pages(packed_weights(backbone.layers))
        return None
    hooks = [layer.register_forward_hook(lay_out_one) for layer in backbone.layers]
    with ThreadPoolExecutor(1, "qianru-loading") as beside:
        ready = beside.submit(warm_up)
        exact = probe()
        ready.result()
    for hook in hooks:
        hook.remove()
    backbone.fuse(precision)
    use_large_pages(packed_weights(backbone.layers))
    return exact, probe()
