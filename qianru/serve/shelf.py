"""The collections of a server: those it was given, those in its folder, those that requests make."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qianru.errors import BadInput, CollectionBusy, CollectionError, RequestRefused, StorageFailed, UnknownName
from qianru.index.address import Address, address_of
from qianru.index.collection import Collection
from qianru.index.home import DATABASE
from qianru.index.keeping import told_parts
from qianru.serve.batched import BatchedReranker, batched
from qianru.serve.desk import Desk
from qianru.serve.lanes import PairScorer
from qianru.serve.models import Models

NAME = re.compile(r"\w[\w.-]{0,63}")
HIDDEN = ".qianru"          # what the command line calls a folder's collection; its folder has the better name
ALWAYS = ("bm25",)          # models that a new collection may have although they are not served
log = logging.getLogger("qianru.serve")


class OpenCollection:
    """A collection that is served.

    library: it;  desk: the thread inside it;  own: it lies in the shelf's folder
    n_documents: when they were last counted
    """

    def __init__(self, name: str, library: Collection, *, writable: bool, own: bool) -> None:
        self.name, self.library, self.writable, self.own = name, library, writable, own
        self.n_documents = library.count()
        self.desk = Desk(name)

    def close(self) -> None:
        """Does what waits and gives everything back."""
        self.desk.stop()
        self.library.close()


class Shelf:
    """The collections by their names; one thread at a time makes and deletes some.

    folder: where new ones are made, None where none can be
    """

    def __init__(self, models: Models, folder: Path | None = None) -> None:
        self.models, self.folder = models, folder
        self._open: dict[str, OpenCollection] = {}

    def __iter__(self) -> Iterator[OpenCollection]:
        return iter(list(self._open.values()))

    def __len__(self) -> int:
        return len(self._open)

    def get(self, name: str) -> OpenCollection:
        """The collection by that name. Raises UnknownName."""
        if name not in self._open:
            raise UnknownName("collection", name[:80], self._open)
        return self._open[name]

    def add(self, place: str, name: str | None = None) -> OpenCollection:
        """Serves the collection in a folder or at an address; only to be read where another process is writing."""
        name = name or _name_of(place)
        if name in self._open:
            raise BadInput(f"Two collections are called {name}. Give one of them another name: NAME={place}.")
        library, writable = self._opened(place)
        own = self.folder is not None and Path(place).parent.absolute() == self.folder.absolute()
        opened = OpenCollection(name, library, writable=writable, own=own)
        self._open[name] = opened
        return opened

    def add_all(self) -> None:
        """Serves every collection in the shelf's folder."""
        if self.folder is not None and self.folder.is_dir():
            for database in sorted(self.folder.glob(f"*/{DATABASE}")):
                self.add(str(database.parent))

    def prepare(self) -> None:
        """Opens what the first search of each collection would otherwise wait for: its engine and the segmenter."""
        for opened in self:
            opened.library.prepare()
            opened.library.matches("春", "春")

    def create(self, name: str, named: Sequence[str]) -> OpenCollection:
        """A new, empty collection of models that are served. Raises BadInput, UnknownName, RequestRefused."""
        if self.folder is None:
            raise RequestRefused("This server has no folder for new collections. Start it with --collections FOLDER.",
                                 403)
        if not NAME.fullmatch(name):
            raise BadInput("A collection's name has 1 to 64 letters, digits or any of . _ -, and begins with a letter "
                           f"or digit, unlike {name[:80]!r}.")
        if len(self) >= (most := self.models.limits.collections):
            raise RequestRefused(f"This server has {len(self):,} collections; requests make no more from {most:,} on "
                                 "(--limit collections=N). Delete one.", 409)
        places = []
        known = {served.name: served.place for served in self.models if served.role == "embedder" and served.place}
        for model in named:
            if model not in known and model not in ALWAYS:
                raise UnknownName("model", model[:80], [*known, *ALWAYS])
            places.append(known.get(model, model))
        if name in self._open or (self.folder / name).exists():
            raise CollectionError(f"There is a collection called {name} already. Choose another name.")
        self.folder.mkdir(parents=True, exist_ok=True)
        Collection.create(self.folder / name, places).close()
        return self.add(str(self.folder / name))

    def delete(self, name: str) -> None:
        """Closes a collection of the shelf's folder and removes it from the disk. Raises RequestRefused for others."""
        opened = self.get(name)
        if not opened.own or not opened.writable:
            raise RequestRefused(f"{name} does not lie in this server's own folder, or is only read. Remove it by "
                                 "hand.", 403)
        del self._open[name]
        opened.close()
        try:
            shutil.rmtree(opened.library.path)
        except OSError as error:
            raise StorageFailed(f"{name} is closed and could not be removed: {error.strerror or error}.") from error

    def without_places(self, words: str) -> str:
        """The words with names in place of where collections lie, which is no client's business."""
        named: dict[str, str] = {}
        for opened in self:
            place = getattr(opened.library, "address", None)
            if place is not None:
                named[place.rpartition("/")[0]] = "its server"
            named[place or str(opened.library.path)] = opened.name
        for place in sorted(named, key=len, reverse=True):          # /notes-old before /notes, and before its server
            words = words.replace(place, named[place])
        return words if self.folder is None else words.replace(f"{self.folder.absolute()}{os.sep}", "")

    def close(self) -> None:
        """Closes all."""
        for opened in self:
            opened.close()
        self._open.clear()

    def _opened(self, place: str) -> tuple[Collection, bool]:
        try:
            library, writable = Collection.open(place), True
        except CollectionBusy:
            log.warning("%s is in use by another program; it is only read.", _name_of(place))
            library, writable = Collection.open(place, read_only=True), False
        except StorageFailed:
            log.warning("%s cannot be written; it is only read.", _name_of(place))
            library, writable = Collection.open(place, read_only=True), False
        if address_of(place) is None and told_parts(library.place):      # named models can be shared and batched
            model = batched(library.model, self.models)
            library.close()
            library = Collection.open(place, model=model, read_only=not writable)
        self._lend_reranker(library)
        return library, writable

    def _lend_reranker(self, library: Any) -> None:
        for served in self.models:
            if isinstance(served.lane, PairScorer):
                library.reranker = BatchedReranker(served.lane, served.worker)
                return


def _name_of(place: str) -> str:
    address = address_of(place)
    if address is not None:
        return Address.parse(address).name
    folder = Path(place).absolute()
    return folder.parent.name if folder.name == HIDDEN else folder.name
