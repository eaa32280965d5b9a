"""Several models as one, each for its own kind of vectors: BM25 for words and word2vec for meaning, say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

from qianru.errors import BadInput, SpecMismatch
from qianru.models.base import Model, ModelSpec, as_texts, check_role, chosen_kinds
from qianru.models.files import Stored, fingerprint, read_folder, write_folder
from qianru.types import Embeddings, Kind, Progress, Role


@runtime_checkable
class Storable(Protocol):
    """A model that can be written to a folder."""

    def stored(self) -> Stored:
        """What the folder holds."""
        ...


class JoinedModel:
    """One model of several: its kinds are theirs together.

    models: no two of them make the same kind; those of a joined model count singly
    Raises BadInput if two make the same kind or there is none.
    """

    family: ClassVar[str] = "joined"

    def __init__(self, models: Sequence[Model]) -> None:
        parts: list[Model] = []
        for model in models:
            parts += model.parts if isinstance(model, JoinedModel) else [model]
        if not parts:
            raise BadInput("A joined model needs at least one model.")
        makers: dict[Kind, str] = {}
        for part in parts:
            for kind in part.spec.kinds:
                if kind in makers:
                    raise BadInput(f"{makers[kind]} and {part.spec.name} both make {kind} vectors. "
                                   "Join models of different kinds, such as one of sparse and one of dense vectors.")
                makers[kind] = part.spec.name
        self._parts = tuple(parts)

    @property
    def parts(self) -> tuple[Model, ...]:
        """The models that it is made of."""
        return self._parts

    @property
    def spec(self) -> ModelSpec:
        """The parts' specs as one; asked anew each time, since a part may learn."""
        specs = [part.spec for part in self.parts]
        made = {kind for spec in specs for kind in spec.kinds}
        every: tuple[Kind, ...] = ("dense", "sparse", "multi", "tokens")
        limits = [spec.max_tokens for spec in specs if spec.max_tokens is not None]
        return ModelSpec(
            name=" + ".join(spec.name for spec in specs),
            family=self.family,
            kinds=tuple(kind for kind in every if kind in made),
            fingerprint=fingerprint(Stored(self.family, {"parts": [spec.fingerprint for spec in specs]})),
            dim=next((spec.dim for spec in specs if spec.dim is not None), None),
            max_tokens=min(limits, default=None),
        )

    def encode(
        self,
        texts: Iterable[str],
        *,
        role: Role = "document",
        kinds: Sequence[Kind] | None = None,
        instruction: str | None = None,
        progress: Progress | None = None,
    ) -> Embeddings:
        """Each kind by the part that makes it; n_tokens is the first of these parts', n_truncated the largest."""
        check_role(role)
        spec = self.spec
        asked = chosen_kinds(spec, kinds)
        listed = as_texts(texts)
        chosen = [(part, [kind for kind in part.spec.kinds if kind in asked]) for part in self.parts]
        chosen = [(part, mine) for part, mine in chosen if mine]
        made: dict[str, Any] = {}
        found: list[Embeddings] = []
        for i, (part, mine) in enumerate(chosen):
            watch = _share(progress, i, len(chosen), len(listed))
            found.append(part.encode(listed, role=role, kinds=mine, instruction=instruction, progress=watch))
            made.update({kind: getattr(found[-1], kind) for kind in mine})
        n_truncated = max(one.n_truncated for one in found)
        return Embeddings(spec.name, found[0].n_tokens, n_truncated, **made)

    def save(self, folder: Path) -> None:
        """Writes the model to a folder with a folder in it for each part; BadInput if a part cannot be saved."""
        write_folder(folder, self.stored())

    def stored(self) -> Stored:
        """What the folder holds: each part under the name of its kinds."""
        parts: dict[str, Stored] = {}
        for part in self.parts:
            if not isinstance(part, Storable):
                raise BadInput(f"{part.spec.name} cannot be saved, so neither can a model that it is part of.")
            parts["-".join(part.spec.kinds)] = part.stored()
        return Stored(self.family, {"parts": list(parts)}, parts=parts)   # in order, which a JSON object has not

    @classmethod
    def from_stored(cls, stored: Stored) -> Self:
        """The model that a folder holds."""
        from qianru.models import from_stored

        names = stored.setting("parts", list)
        if sorted(map(str, names)) != sorted(stored.parts):
            raise SpecMismatch(f"{stored.folder} names the parts {names} and holds {sorted(stored.parts)}. "
                               "Join and save the models again.")
        return cls([from_stored(stored.parts[name]) for name in names])

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The model saved to the folder."""
        return cls.from_stored(read_folder(folder, cls.family))


def _share(progress: Progress | None, i: int, n_parts: int, n_texts: int) -> Progress | None:
    """Progress of part i as progress of the whole, in texts."""
    if progress is None:
        return None
    told = progress
    return lambda done, _: told((i * n_texts + done) // n_parts, n_texts)
