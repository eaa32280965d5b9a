"""The model of a collection: small ones are copied into it, large ones named, and both are known by their fingerprint.

    model/        a model that is copied, as its save writes it
    model.json    a model that is named: {"parts": [{"name": "bge-m3"}, {"folder": "model"}]}

A transformer has up to gigabytes of weights, which nobody wants in every collection; it is named if the caller named
it. What is fitted to a corpus, and so exists once, is copied.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qianru.errors import BadFile, BadInput, CollectionDamaged, ModelMismatch, UnknownName
from qianru.models import load
from qianru.models.base import Model
from qianru.models.joined import JoinedModel

MODEL, NAMED = "model", "model.json"
LARGE = ("transformer",)        # families whose weights stay where they are
Given = Model | str


def loaded(given: Given | Sequence[Given]) -> tuple[Model, list[tuple[Model, str | None]]]:
    """The model, and each of its parts with the name that it was loaded by, if it was."""
    listed = [given] if isinstance(given, str | Model) else list(given)
    if not listed:
        raise BadInput("A collection needs a model; name at least one.")
    parts: list[tuple[Model, str | None]] = []
    for one in listed:
        if isinstance(one, str):
            parts.append((load(one), str(Path(one).absolute()) if Path(one).exists() else one))
        elif isinstance(one, Model):
            parts.append((one, None))
        else:
            raise BadInput(f"A model is needed, or a name for qianru.load, not {one!r:.60}.")
    return (parts[0][0] if len(parts) == 1 else JoinedModel([part for part, _ in parts])), parts


def keep(folder: Path, model: Model, parts: Sequence[tuple[Model, str | None]]) -> None:
    """Writes the model into a collection's folder. Raises BadInput for one that can neither be saved nor named."""
    if not any(name is not None and part.spec.family in LARGE for part, name in parts):
        _save(folder / MODEL, model)
        return
    told: list[dict[str, str]] = []
    for i, (part, name) in enumerate(parts):
        if name is not None and part.spec.family in LARGE:
            told.append({"name": name, "fingerprint": part.spec.fingerprint})
        else:
            inside = MODEL if len(parts) == 1 else f"{MODEL}/{i}"
            _save(folder / inside, part)
            told.append({"folder": inside})
    (folder / NAMED).write_text(json.dumps({"parts": told}, ensure_ascii=False, indent=1), encoding="utf-8")


def kept(folder: Path, asked: Model | None, made_with: str) -> Model:
    """The model of the collection in the folder.

    asked: stands in for a model that is named, so that it need not be where it was
    made_with: the fingerprint of the collection's model
    Raises ModelMismatch where a model that is named is gone or is another one.
    """
    if not (folder / NAMED).exists():
        return load(str(folder / MODEL))
    if asked is not None and asked.spec.fingerprint == made_with:
        return asked
    models = [_found(folder, part) for part in told_parts(folder)]
    return models[0] if len(models) == 1 else JoinedModel(models)


def named_models(folder: Path) -> list[str]:
    """The names and paths of models that lie outside the collection."""
    return [part["name"] for part in told_parts(folder) if "name" in part]


def told_parts(folder: Path) -> list[dict[str, str]]:
    """What model.json says of each part of the model; nothing where the whole model is copied.

    Raises CollectionDamaged for what keep does not write, such as a folder that lies outside.
    """
    path = folder / NAMED
    if not path.exists():
        return []
    try:
        told: Any = json.loads(path.read_bytes())["parts"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CollectionDamaged(f"{path} cannot be read: {error!r}. Restore it from a copy.") from error
    if not isinstance(told, list) or not told or not all(map(_is_part, told)):
        raise CollectionDamaged(f"{path} does not say which model it is: {told!r:.80}. Restore it from a copy.")
    return told


def _is_part(told: Any) -> bool:
    """Whether it is as keep writes it."""
    match told:
        case {"folder": str(inside)}:
            return re.fullmatch(rf"{MODEL}(/\d+)?", inside) is not None
        case {"name": str(), "fingerprint": str()}:
            return True
    return False


def given_again(told: Sequence[dict[str, str]], model: Model) -> list[Given]:
    """What to make another collection of the same model with: names where the first one was given names."""
    parts = model.parts if isinstance(model, JoinedModel) else [model]
    if len(told) != len(parts):
        return [model]
    return [its.get("name", part) for its, part in zip(told, parts, strict=True)]


def _found(folder: Path, part: dict[str, str]) -> Model:
    if "folder" in part:
        return load(str(folder / part["folder"]))
    try:
        model = load(part["name"])
    except (UnknownName, BadFile) as error:
        raise ModelMismatch(
            f"{folder} was made with the model {part['name']}, which cannot be loaded any more: {error} Put it "
            "back, or say where it is: Collection.open(path, model=qianru.load(\"its new place\"))."
        ) from error
    if model.spec.fingerprint != part["fingerprint"]:
        raise ModelMismatch(
            f"{part['name']} is not the model that made {folder} any more (fingerprint {model.spec.fingerprint[:12]}, "
            f"not {part['fingerprint'][:12]}). Put the old one back, or index again."
        )
    return model


def _save(folder: Path, model: Model) -> None:
    save = getattr(model, "save", None)
    if save is None:
        raise BadInput(f"{model.spec.name} cannot be saved, so a collection cannot keep it.")
    save(folder)
