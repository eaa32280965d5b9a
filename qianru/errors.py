"""Every error that Qianru raises on purpose.

    QianruError
    ├── BadInput         ValueError       an argument or a text that cannot be used
    ├── UnknownName      LookupError      no such model, item, column, document, …: with a "did you mean"
    ├── MissingExtra     ImportError      an optional dependency is not installed
    ├── NotFitted        ValueError       a model that must see a corpus first has seen none
    ├── ShapeMismatch    ValueError       two arrays or an array and an index disagree in size
    ├── SpecMismatch     ValueError       a model's files disagree with each other or with what was asked
    ├── BadFile          OSError          a file is not what its name or header says
    ├── CollectionError  OSError          a stored collection cannot be used as it is
    │   ├── CollectionBusy                another process is writing to it
    │   ├── CollectionDamaged             its files are not what was written
    │   ├── ModelMismatch                 it was made with another model
    │   └── ClusterFailed                 the server that it is on cannot be reached, refuses or answers nonsense
    ├── StorageFailed    OSError          the disk is full, read-only or broken; the old state is intact
    ├── ServerFailed     ConnectionError  a server cannot be reached, refuses or answers nonsense
    ├── RequestRefused   RuntimeError     a server does not take a request: too large, too many, too late, not allowed
    └── TrainingFailed   ArithmeticError  the loss is no number or grows: what was learnt is being lost
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType


class QianruError(Exception):
    """The root: the command line and the server turn these, and only these, into a message for the user."""


class BadInput(QianruError, ValueError):
    """An argument or a text that cannot be used."""


class UnknownName(QianruError, LookupError):
    """No such thing by that name.

    >>> str(UnknownName("metric", "cosin", ["cosine", "dot"]))
    "There is no metric 'cosin'. Did you mean 'cosine'? Known: cosine, dot."
    >>> str(UnknownName("column", "dsc", ["name", "desc"], "in hotels.csv"))
    "There is no column 'dsc' in hotels.csv. Did you mean 'desc'? Known: name, desc."
    """

    def __init__(self, what: str, name: str, known: Iterable[str], where: str = "") -> None:
        names = [str(k) for k in known]
        close = get_close_matches(name, names, n=1, cutoff=0.5)
        meant = f" Did you mean '{close[0]}'?" if close else ""
        shown = ", ".join(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")
        missing = f"There is no {what} '{name}'" + (f" {where}." if where else ".")
        super().__init__(f"{missing}{meant}" + (f" Known: {shown}." if names else ""))


class MissingExtra(QianruError, ImportError):
    """An optional dependency is not installed."""


class NotFitted(QianruError, ValueError):
    """A model that must see a corpus first has seen none."""


class ShapeMismatch(QianruError, ValueError):
    """Two arrays, or an array and an index, disagree in size."""


class SpecMismatch(QianruError, ValueError):
    """A model's files disagree with each other or with what was asked."""


class BadFile(QianruError, OSError):
    """A file is not what its name or header says, or cannot be read."""


class CollectionError(QianruError, OSError):
    """A stored collection cannot be used as it is."""


class CollectionBusy(CollectionError):
    """Another process is writing to the collection."""


class CollectionDamaged(CollectionError):
    """The files of a collection are not what was written."""


class ModelMismatch(CollectionError):
    """A collection was made with another model."""


class StorageFailed(QianruError, OSError):
    """The disk is full, read-only or broken; the old state is intact."""


class ServerFailed(QianruError, ConnectionError):
    """A server cannot be reached, refuses or answers nonsense."""


class ClusterFailed(CollectionError, ServerFailed):
    """The server that a collection is on cannot be reached, refuses or answers nonsense.

    status: of its answer, None if there was none
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class RequestRefused(QianruError, RuntimeError):
    """A server of ours does not take a request: it is too large, one too many, too late or not allowed.

    status: of the HTTP answer;  retry_after_s: when trying again may help, None if it will not
    """

    def __init__(self, message: str, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after_s = status, retry_after_s


class TrainingFailed(QianruError, ArithmeticError):
    """The loss is no number or grows: what was learnt is being lost."""


def require(module: str, extra: str, what: str) -> ModuleType:
    """The imported module, or a MissingExtra that names the command to type.

    >>> require("no_such_module", "plot", "Drawing a heat map")
    Traceback (most recent call last):
        ...
    qianru.errors.MissingExtra: Drawing a heat map needs no_such_module. Install it with: pip install 'qianru[plot]'
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        name = module.partition(".")[0]
        if error.name != name:     # the module is there, something that it needs is not
            raise
        raise MissingExtra(f"{what} needs {name}. Install it with: pip install 'qianru[{extra}]'") from None
