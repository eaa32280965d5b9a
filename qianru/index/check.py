"""Whether a collection is what was written, and made right again as far as that can be derived from its documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qianru.errors import CollectionDamaged
from qianru.index.engine_check import seal_damage, wrong_counts, wrong_engine
from qianru.index.intake import searchable
from qianru.index.verification import Damage, damages
from qianru.types import Progress

if TYPE_CHECKING:
    from qianru.index.collection import Collection

MENDED_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check has found, each in a sentence without its full stop.

    lost: what only a copy can bring back;  derived: what can be made again from the documents
    repaired: what was of that, and is right now
    """

    n_documents: int
    lost: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether all is as it was written."""
        return not self.lost and not self.derived


def check(collection: Collection, *, repair: bool, progress: Progress | None) -> Checked:
    """See Collection.check. Called by a thread that is alone in the collection."""
    found = list(_found(collection, progress))
    before = _told(collection, found)
    if not repair or not before.derived:
        return before
    _repair(collection, found)
    after = _told(collection, list(_found(collection, None)))
    repaired = tuple(said for said in before.derived if said not in after.derived)
    return Checked(after.n_documents, after.lost, after.derived, repaired)


def _told(collection: Collection, found: list[Damage]) -> Checked:
    return Checked(collection.count(), tuple(damage.said for damage in found if damage.lost),
                   tuple(damage.said for damage in found if not damage.lost))


def _found(collection: Collection, progress: Progress | None) -> Iterator[Damage]:
    """All that is wrong; what is derived from vectors is looked at only if these are whole."""
    writes = collection._lock is not None
    if writes and collection._follower is None and (said := seal_damage(collection.place)) is not None:
        yield Damage(said, lost=False)
    whole = True
    try:
        for damage in damages(collection._storage, progress):
            whole = False
            yield damage
    except CollectionDamaged as error:
        yield Damage(str(error).rstrip("."))
        return
    if not whole:
        return
    if collection._statistics is not None:
        for said in wrong_counts(collection._storage, collection._statistics):
            yield Damage(said, lost=False)
    if writes:
        for said in wrong_engine(collection._follow()):
            yield Damage(said, lost=False)


def _repair(collection: Collection, found: list[Damage]) -> None:
    """Embeds anew what has lost its vectors, removes what belongs to nothing, counts and indexes again."""
    storage, writer = collection._storage, collection._writer
    storage.delete_strangers()
    gone = [damage.n for damage in found if damage.n is not None and damage.lost]
    ns = sorted({damage.n for damage in found if damage.n is not None and not damage.lost} - set(gone))
    for start in range(0, len(ns), MENDED_AT_ONCE):
        some = ns[start : start + MENDED_AT_ONCE]
        documents = storage.documents(some)
        texts = [searchable(documents[n]) for n in some]
        writer.fill(some, texts, writer.made(texts))
    try:
        writer.count_anew()
        collection._follow().rebuild()
    except CollectionDamaged:       # vectors whose text is lost too; the check after this names them
        return
