"""What the adapters share: a transformer by its name or folder, a device by its many names, one text or several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from qianru.errors import BadInput, NotFitted, SpecMismatch
from qianru.models import load
from qianru.models.base import Model, as_texts
from qianru.models.bm25 import BM25
from qianru.models.cross_encoder import CrossEncoder
from qianru.models.named import folder_of
from qianru.models.recipe import Prompts
from qianru.models.transformer import Transformer
from qianru.runtime.options import DeviceName, Runtime
from qianru.types import Progress

NO_PROMPTS = Prompts()


def open_model(name: str | Path, runtime: Runtime) -> Transformer:
    """The transformer in that folder or downloaded by that name; the errors are those of qianru.load."""
    model = load(name, runtime)
    if isinstance(model, CrossEncoder):
        raise SpecMismatch(f"{name} is a reranker: it makes scores, not vectors. Use FlagReranker or CrossEncoder.")
    assert isinstance(model, Transformer), model      # load takes a runtime for no other
    return model


def open_reranker(name: str | Path, runtime: Runtime) -> CrossEncoder:
    """The reranker in that folder or downloaded by that name; SpecMismatch if it is another model."""
    model = load(name, runtime)
    if not isinstance(model, CrossEncoder):
        raise SpecMismatch(f"{name} makes {' and '.join(model.spec.kinds)} vectors; it is no reranker. Use "
                           "SentenceTransformer or FlagModel.")
    return model


def folder_or_name(name: str | Path) -> Path:
    """The folder that is meant, also by the name of a downloaded model."""
    folder = Path(name)
    return folder if folder.exists() else folder_of(str(name)) or folder


def limited(model: Transformer, max_tokens: int | None) -> Transformer:
    """The model that cuts after so many tokens, or where it must if that is earlier."""
    return model if max_tokens is None else model.altered(
        max_tokens=min(max_tokens, model.network.backbone.config.max_tokens))


def has_learnt_nothing(model: Model) -> bool:
    """Whether it learns from texts and has seen none."""
    if isinstance(model, BM25):
        return not model.statistics.n_documents
    if not hasattr(model, "fit"):
        return False
    try:
        model.encode(["?"])
    except NotFitted:
        return True
    return False


def device_of(given: str | int | Sequence[str | int] | None) -> DeviceName | None:
    """None, "cpu", "cuda", "cuda:0", "gpu", 0, or a list of one of these -> where to run; None for where it is fastest.

    >>> device_of(["cuda:0"]), device_of("cpu"), device_of("gpu")
    ('cuda', 'cpu', None)
    """
    if isinstance(given, Sequence) and not isinstance(given, str):
        if len(given) != 1:
            raise BadInput(f"One device is used by one process, not {list(given)}. Name one.")
        given = given[0]
    if given is None or given == "gpu":               # ModelScope's name for a GPU if there is one
        return None
    if given == "cpu":
        return "cpu"
    if given in ("cuda", "cuda:0", "gpu:0", 0):
        return "cuda"
    raise BadInput(f"There is no device {given!r} here. Use 'cpu' or 'cuda', and CUDA_VISIBLE_DEVICES to choose a GPU.")


def texts_of(sentences: str | Sequence[str]) -> tuple[list[str], bool]:
    """(texts, whether it was one text alone)."""
    alone = isinstance(sentences, str)
    return ([sentences] if isinstance(sentences, str) else as_texts(sentences)), alone


@contextmanager
def bar(wanted: bool, what: str) -> Iterator[Progress | None]:
    """Progress on stderr if it is wanted."""
    if not wanted:
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
