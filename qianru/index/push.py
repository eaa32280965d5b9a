"""A collection copied to another place as it is, nothing embedded again: from a folder to a server, or back.

What stands there already is passed over, so an interrupted push goes on where it stopped. At the end every document is
read back and compared by a checksum over its text, fields, vectors and counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from qianru.errors import BadInput, CollectionDamaged, ModelMismatch
from qianru.index.address import Address, address_of
from qianru.index.cluster_collection import ClusterCollection
from qianru.index.cluster_home import ClusterHome
from qianru.index.cluster_link import Link
from qianru.index.cluster_opening import create_at, open_at
from qianru.index.cluster_points import ClusterOptions
from qianru.index.collection import Collection
from qianru.index.home import DATABASE
from qianru.index.intake import document_digest, fields_json
from qianru.index.keeping import Given, given_again, told_parts
from qianru.index.push_ends import End, end_of
from qianru.types import Progress


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did: counts of documents.

    copied: new or changed there;  unchanged: stood there already;  verified: read back and equal
    others: stand there and not here; they stay
    """

    copied: int = 0
    unchanged: int = 0
    verified: int = 0
    others: int = 0


def place_for(
    source: Collection, where: str, *, api_key: str | None = None, options: ClusterOptions = ClusterOptions()
) -> Collection:
    """The collection at an address or in a folder; where there is none a new one, made as the source was.

    options: of a new collection on a server
    """
    url = address_of(where)
    if url is None:
        if (Path(where) / DATABASE).exists():
            return Collection.open(where)
        return Collection.create(where, given_of(source), layout=source._layout)
    address = Address.parse(url)
    link = Link.to(address.base, api_key=api_key)
    try:
        return place_on(link, address.name, source, options)
    except BaseException:
        link.close()
        raise


def place_on(
    link: Link, name: str, source: Collection, options: ClusterOptions = ClusterOptions()
) -> ClusterCollection:
    """The collection of that name on a server; where there is none a new one, made as the source was."""
    if ClusterHome(link, name).is_complete():
        return open_at(link, name, model=source.model, options=options)
    layout = source._layout
    layout = replace(layout, multi="float16", dense="float32" if layout.dense == "float16" else layout.dense)
    return create_at(link, name, given_of(source), layout=layout, options=options)


def given_of(collection: Collection) -> list[Given]:
    """What to make another collection of the same model with."""
    told = collection.told_parts() if isinstance(collection, ClusterCollection) else told_parts(collection.place)
    return given_again(told, collection.model)


def push(
    source: Collection, target: Collection, *, progress: Callable[[str], Progress] | None = None
) -> Pushed:
    """Copies all documents, files and the plan of one collection to another that was made with the same model.

    progress: gives what counts documents, for "copied" and for "verified"
    Raises ModelMismatch for collections of different models, CollectionDamaged if what is read back is not what was
    sent even after it was sent twice.
    """
    if source.model.spec.fingerprint != target.model.spec.fingerprint:
        raise ModelMismatch(f"{_where(source)} was made with {source.model.spec.name}, {_where(target)} with "
                            f"{target.model.spec.name} of another fingerprint. Push to a new collection.")
    here, there = end_of(source), end_of(target)
    if here.layout.kinds != there.layout.kinds:
        raise BadInput(f"{_where(source)} stores {' and '.join(here.layout.kinds or ())} vectors, {_where(target)} "
                       f"{' and '.join(there.layout.kinds or ())}. Push to a new collection.")
    with source.entered(), target.entered():
        copied, unchanged = _copy(here, there, None if progress is None else progress("copied"))
        there.finish(here.sources())
        if source.plan != target.plan:
            target.set_plan(source.plan)
        verified = _verify(here, there, None if progress is None else progress("verified"))
        return Pushed(copied, unchanged, verified, target.count() - verified)


def _copy(here: End, there: End, progress: Progress | None) -> tuple[int, int]:
    """(documents copied, those that stood there already)."""
    copied = unchanged = 0
    total = here.collection.count()
    for cargo in here.each():
        known = there.digests([document.id for document in cargo.documents])
        missing = [i for i, document in enumerate(cargo.documents)
                   if known.get(document.id) != document_digest(document.text, fields_json(document)).hex()]
        if missing:
            there.take(cargo.some(missing))
        copied += len(missing)
        unchanged += len(cargo.documents) - len(missing)
        if progress is not None:
            progress(copied + unchanged, total)
    return copied, unchanged


def _verify(here: End, there: End, progress: Progress | None) -> int:
    """How many documents are there as they are here; those that are not are sent once more."""
    verified, total = 0, here.collection.count()
    multi = here.layout.multi == there.layout.multi
    for cargo in here.each():
        expected = cargo.checksums(multi=multi)
        for attempt in range(2):
            found = there.read(list(expected)).checksums(multi=multi)
            wrong = [i for i, document in enumerate(cargo.documents)
                     if found.get(document.id) != expected[document.id]]
            if not wrong:
                break
            if attempt:
                raise CollectionDamaged(
                    f"{_where(there.collection)}: {len(wrong)} documents are not what was sent, such as "
                    f"{cargo.documents[wrong[0]].id!r}. Does another program write to it? Push again when it has ended."
                )
            there.take(cargo.some(wrong))
        verified += len(expected)
        if progress is not None:
            progress(verified, total)
    return verified


def _where(collection: Collection) -> str:
    return str(getattr(collection, "address", collection.path))
