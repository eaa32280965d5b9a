"""Filters in a Qdrant server's terms, such that it finds what Filter.matches says.

Fields are stored as in the embedded engine (see engine_filter.py), and for its reasons: texts, numbers and truth values
under keys of their own. A filter becomes a condition that no passing document fails; where it may let others through,
the caller checks these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from qianru.index.engine_filter import EXACT, NUMBER, TEXT, TRUTH, WHOLE, key_of, whole_as_int
from qianru.index.filter import And, Compare, Filter, Not, OneOf, Or, Prefix, Scalar

if TYPE_CHECKING:
    from qdrant_client.http.models import Condition, Filter as Conditions

SIDES = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


class Translation(NamedTuple):
    """condition: None lets everything through;  exact: whether it lets through only what passes the filter."""

    condition: Condition | None
    exact: bool


def translated(where: Filter | None) -> tuple[Conditions | None, bool]:
    """(the server's filter, whether it is exact)."""
    from qdrant_client.http import models

    if where is None:
        return None, True
    condition, exact = _translated(where)
    if condition is None or isinstance(condition, models.Filter):
        return condition, exact
    return models.Filter(must=[condition]), exact


def field_index(key: str) -> Any:
    """What the server should keep to find documents by this key without looking at each."""
    from qdrant_client.http import models

    if key[0] == TEXT:
        return models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, prefix=True)
    return models.PayloadSchemaType.FLOAT if key[0] == NUMBER else models.PayloadSchemaType.INTEGER


def _translated(where: Filter) -> Translation:
    from qdrant_client.http import models

    if isinstance(where, And | Or):
        parts = [_translated(part) for part in where.parts]
        known = [part.condition for part in parts if part.condition is not None]
        exact = all(part.exact for part in parts)
        if isinstance(where, And):
            return Translation(models.Filter(must=known) if known else None, exact)
        return Translation(models.Filter(should=known), exact) if len(known) == len(parts) else Translation(None, False)
    if isinstance(where, Not):
        inner = _translated(where.part)
        # what is let through too much inside would be kept out here
        if inner.exact and inner.condition is not None:
            return Translation(models.Filter(must_not=[inner.condition]), True)
        return Translation(None, False)
    if isinstance(where, Prefix):
        return _match(TEXT, where.name, models.MatchPrefix(prefix=where.prefix))
    if isinstance(where, Compare):
        if isinstance(where.bound, str) or not abs(where.bound) < EXACT:
            return Translation(None, False)
        return _between(where.name, **{SIDES[where.order]: float(where.bound)})
    if isinstance(where, OneOf):
        return _one_of(where.name, where.values)
    raise TypeError(f"{type(where).__name__} is a filter that the cluster's translation does not know.")


def _one_of(name: str, values: tuple[Scalar, ...]) -> Translation:
    from qdrant_client.http import models

    found: dict[str, list[Any]] = {TEXT: [], TRUTH: [], NUMBER: []}
    conditions: list[Any] = []
    for value in values:
        if isinstance(value, str):
            found[TEXT].append(value)
        elif isinstance(value, bool):
            found[TRUTH].append(int(value))
        elif abs(number := whole_as_int(value)) < EXACT:
            conditions.append(_between(name, gte=float(number), lte=float(number)).condition)
        elif isinstance(number, int) and -WHOLE <= number < WHOLE:
            found[NUMBER].append(number)
        else:
            return Translation(None, False)
    conditions += [_match(kind, name, models.MatchAny(any=some)).condition for kind, some in found.items() if some]
    if not conditions:
        return Translation(models.Filter(must=[models.HasIdCondition(has_id=[])]), True)
    return Translation(conditions[0] if len(conditions) == 1 else models.Filter(should=conditions), True)


def _match(kind: str, name: str, match: Any) -> Translation:
    from qdrant_client.http import models

    return Translation(models.FieldCondition(key=key_of(kind, name), match=match), True)


def _between(name: str, **bounds: float) -> Translation:
    from qdrant_client.http import models

    return Translation(models.FieldCondition(key=key_of(NUMBER, name), range=models.Range(**bounds)), True)
