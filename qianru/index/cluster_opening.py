"""How a collection on a Qdrant server is made and opened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from qianru.errors import BadInput, ModelMismatch
from qianru.index.address import Address
from qianru.index.cluster import ClusterIndex
from qianru.index.cluster_collection import ClusterCollection
from qianru.index.cluster_home import ClusterHome
from qianru.index.cluster_link import Link
from qianru.index.cluster_points import ClusterOptions, quantizer
from qianru.index.explanation import parts_of
from qianru.index.home import check_model
from qianru.index.keeping import Given, keep, kept, loaded, told_parts
from qianru.index.layout import Layout
from qianru.models.base import Model
from qianru.models.bm25 import BM25
from qianru.models.joined import JoinedModel

OWN_KEYS = {"id": "keyword", "digest": "keyword", "names": "keyword", "terms": "keyword", "order": "integer",
            "length": "integer", "level": "integer"}


def create_at(
    link: Link, name: str, model: Given | Sequence[Given] = "bm25", *, layout: Layout = Layout(),
    options: ClusterOptions = ClusterOptions(),
) -> ClusterCollection:
    """A new, empty collection on the server; goes on where an earlier call for the same one was interrupted."""
    made, parts = loaded(model)
    layout = layout.of(made.spec)
    if layout.multi != "float16" and "multi" in (layout.kinds or ()):
        raise BadInput(f"On a server token vectors are float16, not {layout.multi}. Leave that to the default.")
    if "dense" in (layout.kinds or ()):
        quantizer(layout.dense)         # refuses before anything is made
    home = ClusterHome(link, name)
    home.begin({"model": made.spec.name, "fingerprint": made.spec.fingerprint, "layout": layout.to_json()}, options)
    if not link.ask("looked up", link.client.collection_exists, name):
        kinds = [kind for kind in layout.kinds or () if kind != "multi"]
        ClusterIndex.create(link, name, kinds, made.spec.dim, options=options, precision=layout.dense,
                            token_dim=_token_dim(made) if "multi" in (layout.kinds or ()) else 0)
    index = ClusterIndex.load(link, name, options=options)
    for key, schema in OWN_KEYS.items():
        index.index_fields([key], schema=_schema(schema))
    with TemporaryDirectory() as folder:
        keep(Path(folder), made, parts)
        home.set("model_kept", home.put_files(Path(folder)))
        home.set("parts", told_parts(Path(folder)))
    home.finish()
    return open_at(link, name, model=made, options=options)


def open_at(
    link: Link, name: str, *, model: Model | None = None, options: ClusterOptions = ClusterOptions()
) -> ClusterCollection:
    """A collection that exists on the server (see Collection.open)."""
    home = ClusterHome(link, name)
    facts = home.facts()
    where = f"{link.where}/{name}"
    if facts["model_kept"]:
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            home.take_files(Path(folder))
            own = kept(Path(folder), None if model is None else _of_its_own(model), facts["fingerprint"])
    elif model is not None:
        own = _of_its_own(model)
    else:
        raise ModelMismatch(f"{where} was made with {facts['model']}, which is too large to lie there as well. Say "
                            "where it is: Collection.open(address, model=qianru.load(\"its place\")).")
    check_model(where, facts["fingerprint"], own, model)
    return ClusterCollection(home, ClusterIndex.load(link, name, options=options), own, facts)


def create(
    url: str, model: Given | Sequence[Given], layout: Layout, options: ClusterOptions | None, api_key: str | None
) -> ClusterCollection:
    """A new, empty collection at the address."""
    address = Address.parse(url)
    with _linked(address, api_key) as link:
        return create_at(link, address.name, model, layout=layout, options=options or ClusterOptions())


def open(
    url: str, model: Model | None, options: ClusterOptions | None, api_key: str | None
) -> ClusterCollection:
    """The collection at the address."""
    address = Address.parse(url)
    with _linked(address, api_key) as link:
        return open_at(link, address.name, model=model, options=options or ClusterOptions())


def is_there(url: str, api_key: str | None = None) -> bool:
    """Whether there is a collection at the address."""
    address = Address.parse(url)
    with _linked(address, api_key) as link:
        found = ClusterHome(link, address.name).is_complete()
    link.close()
    return found


@contextmanager
def _linked(address: Address, api_key: str | None) -> Iterator[Link]:
    link = Link.to(address.base, api_key=api_key)
    try:
        yield link
    except BaseException:
        link.close()
        raise


def _of_its_own(model: Model) -> Model:
    """The model, with a BM25 that no other collection counts in."""
    parts = [BM25.from_stored(part.stored()) if isinstance(part, BM25) else part for part in parts_of(model)]
    return parts[0] if len(parts) == 1 else JoinedModel(parts)


def _token_dim(model: Model) -> int:
    multi = model.encode(["文"], kinds=["multi"]).multi
    assert multi is not None
    return int(multi.data.shape[1])


def _schema(name: str) -> Any:
    from qdrant_client.http import models

    if name == "keyword":
        return models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, prefix=True)
    return models.PayloadSchemaType.INTEGER
