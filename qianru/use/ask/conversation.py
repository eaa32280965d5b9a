"""A conversation in a JSON file: what was asked and answered, written whole after each turn, to go on with later."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qianru.errors import BadFile
from qianru.use.ask.chat import Message
from qianru.use.ask.events import Answer
from qianru.use.writing import written

VERSION = 1


@dataclass(slots=True)
class Conversation:
    """Turns, each a question and its answer; path: where they are kept, None for nowhere."""

    path: Path | None = None
    turns: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path | None) -> Conversation:
        """The conversation in a file, or a new one that will be. Raises BadFile for a file that is something else."""
        if path is None or not path.exists():
            return cls(path)
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            turns = said["turns"]
            if said["version"] != VERSION or not all(isinstance(turn[name], str) for turn in turns
                                                     for name in ("question", "text")):
                raise ValueError("of another version or shape")
        except OSError as error:
            raise BadFile(f"The conversation {path} cannot be read: {error.strerror}. Choose another file.") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadFile(f"{path} is no conversation that qianru ask --save has written: {error!r:.80}. Choose "
                          "another file.") from error
        return cls(path, turns)

    @property
    def history(self) -> list[Message]:
        """What was said, as KnowledgeBase takes it."""
        return [said for turn in self.turns
                for said in (Message("user", turn["question"]), Message("assistant", turn["text"]))]

    def add(self, question: str, answer: Answer) -> None:
        """Takes a turn in, and writes the file anew; killed meanwhile, the old one is there. Raises StorageFailed."""
        self.turns.append({"question": question, **asdict(answer)})
        if self.path is None:
            return
        with written(self.path) as file:
            json.dump({"version": VERSION, "turns": self.turns}, file, ensure_ascii=False, indent=1)
