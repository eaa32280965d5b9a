"""Models by name: what a name leads to on this machine, and what the catalogue adds to a folder's own files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from qianru.errors import BadFile
from qianru.models.catalogue import Card, check, known
from qianru.models.download import origin, resolve
from qianru.models.hub import MODEL_ID
from qianru.models.recipe import Known, Prompts

if TYPE_CHECKING:
    from qianru.models.remote import RemoteModel

REMOTE = "remote:"
POOLINGS = {"": None, "last": "lasttoken"}      # as modules.json calls it


def folder_of(name: str) -> Path | None:
    """The folder of a downloaded model; None if the name is not that of one.

    Raises BadFile, with the command to type, if it is one that is not here.
    """
    if known(name) is None and (not MODEL_ID.fullmatch(name) or Path(name).parent.exists()):
        return None       # nobody knows it; what looks like owner/name is a path, if there is such a folder
    return resolve(name)


def remote(name: str) -> RemoteModel:
    """The model that remote:NAME means: at $OPENAI_BASE_URL, else at OpenAI."""
    from qianru.models.remote import RemoteModel

    return RemoteModel(name.removeprefix(REMOTE))


def facts(folder: Path) -> Known | None:
    """What the catalogue knows of a folder that was downloaded, held against its config.json; None of any other."""
    came_from = origin(folder)
    card = known(came_from.get("id", "")) if came_from is not None else None
    if card is None:
        return None
    path = folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        config = {}                    # an old layout, with everything in 0_Transformer
    except (OSError, ValueError, RecursionError) as error:
        raise BadFile(f"{path} cannot be read: {error}. Download the model again.") from error
    if isinstance(config, dict):
        check(card, config, str(path))
    says_itself = any((folder / name).exists() for name in ("modules.json", "1_Pooling/config.json"))
    return card_as_known(card, says_itself)


def card_as_known(card: Card, says_itself: bool) -> Known:
    """The card as the loader takes it.

    says_itself: the folder's own files tell pooling and normalizing; its hashes are the hub's, so they are right
    """
    return Known(
        name=card.name,
        pooling=None if says_itself else POOLINGS.get(card.pooling, card.pooling),
        normalize=None if says_itself else card.normalized,
        prompts=card.prompts if card.prompts != Prompts() else None,
        kinds=card.kinds,
        causal=card.causal,
    )
