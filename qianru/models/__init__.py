"""Models: texts in, Embeddings out. Here is how one is found by its name or path."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qianru import __version__
from qianru.errors import BadFile, BadInput, SpecMismatch, UnknownName

if TYPE_CHECKING:
    from qianru.models.base import Model
    from qianru.models.files import Stored
    from qianru.runtime.options import Runtime

__all__ = ["FAMILIES", "from_stored", "load"]

FAMILIES = {
    "bm25": "qianru.models.bm25:BM25",
    "counts": "qianru.models.lexical:Counts",
    "cross-encoder": "qianru.models.cross_encoder:CrossEncoder",
    "joined": "qianru.models.joined:JoinedModel",
    "lsa": "qianru.models.lsa:LSA",
    "remote": "qianru.models.remote:RemoteModel",
    "static": "qianru.models.static:StaticModel",
    "tfidf": "qianru.models.lexical:TfIdf",
    "transformer": "qianru.models.transformer:Transformer",
    "word2vec": "qianru.models.word2vec:Word2Vec",
}
"""family -> module:class, whose from_stored makes the model of a folder. A new family is one line here."""
RUN = ("transformer", "cross-encoder")   # families that a Runtime says how to run
MINI = "qianru-zh-mini"
BOX = Path(__file__).parent.parent / "data" / "models"   # the models that come with the package
BUILT_IN = ("bm25", MINI)   # models that need no fitting
READABLE = ("a folder that a model was saved to, a folder of Hugging Face, sentence-transformers, ModelScope or "
            "model2vec, word vectors (.txt, .vec or .bin, also .gz; .npz), a downloaded model by its name (see qianru "
            f"models), remote:NAME or one of the built-in names: {', '.join(BUILT_IN)}")


def load(name: str | Path | None = None, runtime: Runtime | None = None) -> Model:
    """The model by that name or in that folder or file. Nothing is ever downloaded.

    name: None for the best model that comes with the package, "qianru-zh-mini"; "bm25" (empty; it learns from the
        collection that it serves), a folder written by save, a transformer's folder of Hugging Face,
        sentence-transformers or ModelScope, a model2vec folder, a word2vec or GloVe file (.txt, .vec, .bin, each also
        .gz), a .npz with the JSON list of its words beside it, a model that was downloaded by its name in the catalogue
        or on its hub ("m3e-base", "BAAI/bge-m3"), or "remote:NAME", a model that is asked over HTTP. A built-in name
        wins over a folder that is called the same, and a folder over a downloaded model.
    runtime: how to run a transformer; BadInput with any other model
    Raises UnknownName if there is nothing by that name, SpecMismatch or BadInput if it is none of these, BadFile if it
    is damaged or a known model that is not downloaded yet; the error then says the command that does.
    """
    name = MINI if name is None else name
    model = _found(name, runtime)
    if runtime is not None and getattr(model, "family", "") not in RUN:      # not spec, which hashes every weight
        raise BadInput(f"A Runtime says how to run a transformer; {name} is a model of the family "
                       f"'{model.spec.family}'. Leave it out.")
    return model


def _found(name: str | Path, runtime: Runtime | None) -> Model:
    if str(name) == MINI:
        return _class_of("static").load(BOX / MINI)   # type: ignore[no-any-return]
    if str(name) == "bm25":
        from qianru.models.bm25 import BM25
        from qianru.text.analyze import SEARCH

        return BM25(SEARCH, query_stop_lists=("zh", "en"))
    path = Path(name)
    if isinstance(name, str) and not path.exists():
        from qianru.models import named

        if name.startswith(named.REMOTE):
            return named.remote(name)
        path = named.folder_of(name) or path
    if path.is_file():
        return _word_vectors(path)
    if path.is_dir() and not (path / "qianru.json").exists():
        return _foreign_folder(path, runtime)
    from qianru.models.files import read_folder

    try:
        return from_stored(read_folder(path), runtime)
    except BadFile:
        if path.exists():
            raise
        raise UnknownName("model folder, file of vectors or built-in model", str(name), _nearby(path)) from None


def from_stored(stored: Stored, runtime: Runtime | None = None) -> Model:
    """The model of what a folder holds, whatever its family; the runtime is for transformers and rerankers."""
    if stored.family not in FAMILIES:
        raise SpecMismatch(f"{stored.folder} holds a model of the family '{stored.family}'. Qianru {__version__} "
                           f"knows {', '.join(FAMILIES)}; upgrade it for others.")
    how = () if runtime is None or stored.family not in RUN else (runtime,)
    return _class_of(stored.family).from_stored(stored, *how)   # type: ignore[no-any-return]


def _class_of(family: str) -> Any:
    module, _, name = FAMILIES[family].partition(":")
    return getattr(import_module(module), name)


def _word_vectors(path: Path) -> Model:
    from qianru.models.vector_files import format_of, read_npz, read_vectors
    from qianru.models.word_vector_model import WordVectorModel

    if path.suffix == ".npz":
        return WordVectorModel(read_npz(path))
    if format_of(path) is None:
        raise BadInput(f"{path} is not a model. What can be loaded: {READABLE}.")
    return WordVectorModel(read_vectors(path))


def _foreign_folder(folder: Path, runtime: Runtime | None) -> Model:
    """A folder that another program wrote."""
    from qianru.models.static import StaticModel, is_static

    if is_static(folder):
        return StaticModel.load(folder)
    if (folder / "config.json").exists() or (folder / "modules.json").exists():
        from qianru.models.cross_encoder import CrossEncoder, is_classifier
        from qianru.models.named import facts
        from qianru.models.transformer import Transformer

        known = facts(folder)
        if is_classifier(folder):
            return CrossEncoder.load(folder, runtime, name=known.name if known else None)
        return Transformer.load(folder, runtime, known=known)
    raise BadInput(f"{folder} is not a model folder. What can be loaded: {READABLE}.")


def _nearby(path: Path) -> list[str]:
    """The names that the user may have meant: built in, of models beside the missing path, of the catalogue."""
    beside = path.parent.glob("*/qianru.json") if path.parent.is_dir() else []
    from qianru.models.catalogue import catalogue

    return [*BUILT_IN, *sorted(str(path.parent / found.parent.name) for found in beside),
            *(card.name for card in catalogue())]
