"""How a collection is searched: data that is written down, kept with the collection and learnt by `qianru tune`."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from typing import Any, Literal, Self, TypeAlias, get_args

from qianru.errors import BadInput, UnknownName
from qianru.scores import RRF_K, Scale
from qianru.types import Kind

Fusion: TypeAlias = Literal["rrf", "weighted"]
Rescoring: TypeAlias = Literal["maxsim", "reranker"]
KINDS: tuple[Kind, ...] = ("dense", "sparse", "multi")
LARGEST = 2**53         # of whole numbers; no collection is as large, and no JSON tells larger ones apart


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a search, in their order.

    Candidates: each of the kinds finds this many. "multi" finds none beside another kind but scores what those have
    found, exactly; alone it scores every document.

    Fusion: "rrf" adds weight / (rrf_k + rank) (Cormack et al. 2009); "weighted" adds weight x score after scale:
    "minmax" (each kind's candidates to 0..1), "max" (over the largest absolute score) or "none". A kind that has not
    found a document adds nothing to it, unless complete: then every kind scores the candidates of all. A single kind is
    not fused and keeps its scores.

    Rescoring: the best `depth` are ordered anew, by "maxsim" alone or by a cross-encoder "reranker"; the others go.
    reranker: what qianru.load finds the cross-encoder by

    min_score: hits of a smaller score are left out
    mmr: order by mmr x relevance - (1 - mmr) x likeness to a better hit (Carbonell and Goldstein 1998), both from 0 to
        1, among the best `depth`; scores stay
    group_by: at most per_group hits share a value of this field; a document without it stands alone

    kinds: None for all that are stored;  weights: 1 for a kind that is not named

    >>> Plan(kinds=("dense", "sparse"), weights={"dense": 2}).to_json()
    '{"kinds": ["dense", "sparse"], "weights": {"dense": 2.0}}'
    >>> Plan.parse("bge-m3").weights
    {'dense': 0.4, 'sparse': 0.2, 'multi': 0.4}
    """

    kinds: tuple[Kind, ...] | None = None
    candidates: int = 100
    fusion: Fusion = "rrf"
    rrf_k: float = RRF_K
    scale: Scale = "minmax"
    weights: Mapping[Kind, float] = field(default_factory=dict)
    complete: bool = False
    rescore: Rescoring | None = None
    depth: int = 50
    reranker: str = ""
    min_score: float | None = None
    mmr: float | None = None
    group_by: str | None = None
    per_group: int = 1

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        if self.kinds is not None:
            put("kinds", _kinds(self.kinds))
        for name in ("candidates", "depth", "per_group"):
            put(name, whole(name, getattr(self, name), least=1))
        _known("fusion", self.fusion, Fusion)
        _known("scale", self.scale, Scale)
        if self.rescore is not None:
            _known("rescoring", self.rescore, Rescoring)
        put("rrf_k", _number("rrf_k", self.rrf_k))
        if self.rrf_k <= -1:
            raise BadInput(f"rrf_k + 1 divides the best rank's weight, so rrf_k must be above -1, not {self.rrf_k}.")
        put("weights", _weights(self.weights, self.kinds or KINDS))
        if not isinstance(self.complete, bool):
            raise BadInput(f"complete is true or false, not {self.complete!r}.")
        if self.min_score is not None:
            put("min_score", _number("min_score", self.min_score))
        if self.mmr is not None:
            put("mmr", _number("mmr", self.mmr))
            if not 0 <= self.mmr <= 1:
                raise BadInput(f"mmr goes from 0 (all unlike) to 1 (relevance alone); got {self.mmr}.")
        if not isinstance(self.reranker, str):
            raise BadInput(f"reranker is a name or path for qianru.load, not {self.reranker!r:.60}. "
                           "A reranker that is loaded already goes to the collection: collection.reranker = it.")
        if self.group_by is not None and (not isinstance(self.group_by, str) or not self.group_by):
            raise BadInput(f"group_by is the name of a field, not {self.group_by!r}.")

    def altered(self, **changes: Any) -> Self:
        """The plan with these steps changed. Raises UnknownName for a step that there is none of."""
        _check_steps(changes)
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """What differs from the plan of an empty call, in plain values that JSON and TOML can hold."""
        usual = Plan()
        told = {part.name: getattr(self, part.name) for part in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
                for name, value in told.items() if value != getattr(usual, name)}

    def to_json(self) -> str:
        """The same as JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    @classmethod
    def parse(cls, written: str | Mapping[str, Any]) -> Self:
        """The plan that is meant by a name of PLANS, by JSON, or by a mapping such as TOML gives.

        Raises BadInput, UnknownName.
        """
        if isinstance(written, str):
            if not written.lstrip().startswith("{"):
                if written not in PLANS:
                    raise UnknownName("plan", written, PLANS, "(JSON begins with {)")
                return cls(**PLANS[written])
            try:
                written = json.loads(written)
            except (ValueError, RecursionError) as error:
                raise BadInput(f"This plan is no JSON: {error}. It reads {written!r:.80}.") from None
        if not isinstance(written, Mapping):
            raise BadInput(f"A plan is a table of its steps, not {type(written).__name__}.")
        _check_steps(written)
        return cls(**written)


PLANS: Mapping[str, Mapping[str, Any]] = {
    "rrf": {},
    "weighted": {"fusion": "weighted"},
    # BM25 with a small dense model beside it: costs 1.3 points on CSL, CMRC and DRCD at most where RRF costs up to 12
    "hybrid": {"fusion": "weighted", "weights": {"dense": 0.5}},
    # FlagEmbedding's compute_score with the weights of the model's card; the weights' sum is 1
    "bge-m3": {"kinds": ("dense", "sparse", "multi"), "fusion": "weighted", "scale": "none", "complete": True,
               "weights": {"dense": 0.4, "sparse": 0.2, "multi": 0.4}},
}
"""name -> the steps that it changes."""


def whole(name: str, value: object, least: int) -> int:
    """The value as an int. Raises BadInput for what is no whole number, too small or beyond LARGEST.

    >>> whole("k", "3", least=1)
    Traceback (most recent call last):
        ...
    qianru.errors.BadInput: k is a whole number of at least 1, not '3'.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]   # whatever it is
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise BadInput(f"{name} is a whole number of at least {least}, not {value!r:.60}.")
    if number > LARGEST:
        raise BadInput(f"{name} is at most {LARGEST}, not {value!r:.60}.")
    return number


def _kinds(given: Iterable[Kind]) -> tuple[Kind, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise BadInput(f"kinds is a list of kinds of vectors, not {given!r:.60}. Write [\"dense\"].")
    listed = list(given)
    for kind in listed:
        if kind not in KINDS:
            raise UnknownName("kind of vector", str(kind), KINDS)
    if not listed:
        raise BadInput("kinds names at least one kind of vector; leave it out for all.")
    return tuple(kind for kind in KINDS if kind in listed)


def _weights(given: Mapping[Kind, float], kinds: Iterable[Kind]) -> dict[Kind, float]:
    if not isinstance(given, Mapping):
        raise BadInput(f"weights are written kind by kind, such as {{'dense': 0.4}}, not as {given!r:.60}.")
    weights: dict[Kind, float] = {}
    for kind, weight in given.items():
        if kind not in kinds:
            raise UnknownName("kind of vector", str(kind), kinds)
        weights[kind] = _number(f"the weight of {kind}", weight, said=given)
        if weights[kind] < 0:
            raise BadInput(f"Weights of rankings are numbers from 0 upwards, not {dict(given)}.")
    return weights


def _number(name: str, value: Any, said: object = None) -> float:
    real: Any = value if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not abs(real) <= 1e300:      # also where it is no number; a whole one may be too large for a float
        if said is not None:
            raise BadInput(f"Weights of rankings are numbers from 0 upwards, not {said}.")
        raise BadInput(f"{name} is a finite number, not {value!r:.60}.")
    return float(value)


def _known(what: str, value: object, allowed: Any) -> None:
    if value not in get_args(allowed):
        raise UnknownName(what, str(value), get_args(allowed))


def _check_steps(given: Mapping[str, Any]) -> None:
    steps = [part.name for part in fields(Plan)]
    for name in given:
        if name not in steps:
            raise UnknownName("step of a plan", str(name), steps)
