"""What a chat model is told: text files with places to fill in, in Chinese and English, that the user can change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal, TypeAlias

from qianru.errors import BadFile, BadInput, StorageFailed, UnknownName

Language: TypeAlias = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = ("zh", "en")
PLACES: Mapping[str, tuple[str, ...]] = {
    "system": ("none", "tag"), "question": ("passages", "question"), "none": (),
    "standalone": ("conversation", "question"), "debate": ("passages", "tag", "motion"),
}
"""Prompt -> the places in it that are filled in."""
_PLACE = re.compile(r"\{([a-z]+)\}")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of one language by name."""

    texts: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.texts[name]

    def filled(self, name: str, **values: str) -> str:
        """The prompt with its places filled in, all at once: what a value says in braces is left as it is.

        >>> Prompts({"question": "{passages} {question}"}).filled("question", passages="{question}", question="谁？")
        '{question} 谁？'
        """
        return _PLACE.sub(lambda place: values.get(place[1], place[0]), self.texts[name])


def language_of(question: str) -> Language:
    """The language to answer in: Chinese if there is a Han character.

    >>> language_of("BGE-M3有多少维？"), language_of("How many dimensions?")
    ('zh', 'en')
    """
    return "zh" if _HAN.search(question) else "en"


def load_prompts(folder: Path | None = None) -> dict[Language, Prompts]:
    """The prompts of each language: those of the folder (system.zh.txt, …), and ours for what it lacks.

    Raises BadFile for a folder or file that cannot be read, UnknownName for a .txt that is no prompt, BadInput for a
    prompt that lacks a place for what it is about.
    """
    own = _ours()
    if folder is not None:
        if not folder.is_dir():
            raise BadFile(f"There is no folder of prompts at {folder}. Make one: qianru ask --copy-prompts {folder}")
        for path in sorted(folder.glob("*.txt")):
            if path.name not in own:
                raise UnknownName("prompt", path.name, own, f"in {folder}")
            own[path.name] = _read(path)
    return {language: Prompts({name: own[f"{name}.{language}.txt"] for name in PLACES}) for language in LANGUAGES}


def copy_prompts(folder: Path) -> list[Path]:
    """Writes our prompts to a folder, to be changed there; returns the files. Raises BadInput where one exists."""
    paths = {folder / name: text for name, text in _ours().items()}
    for path in paths:
        if path.exists():
            raise BadInput(f"{path} exists already. Choose another folder, or delete it to have ours again.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in paths.items():
            path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageFailed(f"The prompts cannot be written to {folder}: {error.strerror}.") from error
    return list(paths)


def _ours() -> dict[str, str]:
    """File -> text."""
    folder = files("qianru") / "data" / "prompts"
    names = [f"{name}.{language}.txt" for name in PLACES for language in LANGUAGES]
    return {name: (folder / name).read_text(encoding="utf-8").strip() for name in names}


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"The prompt {path} cannot be read: {error}. It is text in UTF-8.") from error
    lacking = [place for place in PLACES[path.name.split(".")[0]] if f"{{{place}}}" not in text]
    lacking = [place for place in lacking if place not in ("none", "tag")]     # these two can be done without
    if lacking or not text:
        wanted = " and ".join(f"{{{place}}}" for place in lacking) or "a text"
        raise BadInput(f"The prompt {path} lacks {wanted}. Write it where that is to stand.")
    return text
