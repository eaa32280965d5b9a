"""Embedding distillation: a student's vectors are to be where a teacher's are, text by text.

    plain texts    learn from the teacher alone
    others         learn from their loss and, times a weight, from the teacher
    other widths   the first numbers of the teacher's vectors (a Matryoshka teacher's), or a product that learns to
                   make the student's as wide and is thrown away when training is done

Sources: Reimers and Gurevych 2020 (arXiv 2004.09813) with mean squared errors; Zhang et al. 2024 (Jasper and Stella,
arXiv 2412.19048) with cosines, and with similarities, which need no common width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from qianru.errors import BadFile, BadInput, ShapeMismatch, UnknownName
from qianru.models.base import Model
from qianru.train.data.examples import Plain
from qianru.train.data.sets import DataSet
from qianru.train.losses.distillation import embedding_distance, similarity_distance
from qianru.train.processes import ALONE, Processes
from qianru.types import FloatArray, Role

DISTANCES = ("cosine", "mse", "similarities")
WIDTHS = ("equal", "slice", "project")
SPREAD = 0.02      # of the product that is thrown away


@dataclass(frozen=True, slots=True)
class DistilConfig:
    """Which vectors are imitated, and how.

    teacher: a model by folder or name; or vectors made before, a row for each text of the only data set, in its order:
        a folder of `qianru embed`, a .safetensors file of its kind or an .npy
    distance: of vectors of length 1: "cosine" (1 minus it), "mse", or "similarities": of each two texts of the batch
    weight: of the distance beside the loss of examples that have one
    widths: "equal", or where the teacher's vectors are wider or narrower, "slice" (its first numbers) or "project"
    """

    teacher: str
    distance: Literal["cosine", "mse", "similarities"] = "cosine"
    weight: float = 1.0
    widths: Literal["equal", "slice", "project"] = "equal"

    def __post_init__(self) -> None:
        if self.distance not in DISTANCES:
            raise UnknownName("distance", self.distance, DISTANCES)
        if self.widths not in WIDTHS:
            raise UnknownName("way to fit widths", self.widths, WIDTHS)
        if not self.weight > 0:
            raise BadInput(f"The teacher's weight must be above 0; it is {self.weight}. Or leave distil out.")


class Teacher(Protocol):
    """Texts -> vectors to be imitated. fingerprint: of what makes them"""

    dim: int
    fingerprint: str

    def vectors(self, texts: Sequence[str], role: Role) -> FloatArray:
        """(n, dim), of any length."""
        ...


class ModelTeacher:
    """A model of any family that makes dense vectors, with its own prompts."""

    def __init__(self, model: Model) -> None:
        if "dense" not in model.spec.kinds or model.spec.dim is None:
            raise BadInput(f"{model.spec.name} makes {', '.join(model.spec.kinds)} vectors, and dense ones are "
                           "imitated. Name another teacher.")
        self.model, self.dim, self.fingerprint = model, model.spec.dim, model.spec.fingerprint

    def vectors(self, texts: Sequence[str], role: Role) -> FloatArray:
        """(n, dim)."""
        made = self.model.encode(texts, role=role, kinds=["dense"]).dense
        assert made is not None
        return made


class StoredTeacher:
    """Vectors that were made before; memory is that of the texts' hashes, the vectors stay in their file."""

    def __init__(self, rows: FloatArray, data: DataSet, place: str) -> None:
        if rows.ndim != 2 or len(rows) != len(data):
            raise ShapeMismatch(f"{place} has the shape {rows.shape}; {data.config.path} has {len(data):,} texts. Make "
                                "a row for each of them.")
        examples = (data[i] for i in range(len(data)))
        self.row = {_digest(e.text): i for i, e in enumerate(examples) if isinstance(e, Plain)}
        self.rows, self.dim = rows, rows.shape[1]
        digest = sha256()
        for at in range(0, len(rows), 4096):
            digest.update(np.ascontiguousarray(rows[at : at + 4096]).tobytes())
        self.fingerprint = digest.hexdigest()

    def vectors(self, texts: Sequence[str], role: Role) -> FloatArray:
        """(n, dim)."""
        found: FloatArray = np.asarray(self.rows[[self.row[_digest(text)] for text in texts]], np.float32)
        return found


def find_teacher(config: DistilConfig, sets: Sequence[DataSet], device: str) -> Teacher:
    """The teacher of that name; BadFile or BadInput for what cannot teach these sets."""
    path = Path(config.teacher)
    is_vectors = path.suffix in (".npy", ".safetensors") or (path / "manifest.json").is_file()
    if not is_vectors:
        from qianru.models import load
        from qianru.runtime.options import Runtime

        return ModelTeacher(load(config.teacher, runtime=Runtime(device=device)))   # type: ignore[arg-type]
    if len(sets) != 1 or sets[0].task != "plain":
        tasks = ", ".join(data.task for data in sets)
        raise BadInput(f"{path} holds vectors, a row for each text of one set of plain texts; there are {tasks} sets. "
                       "Name a model for a teacher, or train on plain texts.")
    return StoredTeacher(_stored(path), sets[0], str(path))


def _stored(path: Path) -> FloatArray:
    from qianru.models.embedding_files import map_embeddings
    from qianru.models.embedding_folder import read_shards

    if path.suffix == ".npy":
        try:
            rows: FloatArray = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise BadFile(f"{path} cannot be read as an array: {error}. Make it again.") from error
        return rows
    parts = ([map_embeddings(path).embeddings.dense] if path.is_file()
             else [shard.embeddings.dense for shard in read_shards(path)])
    dense = [part for part in parts if part is not None]
    if len(dense) != len(parts) or not parts:
        raise BadFile(f"{path} holds no dense vectors. Make them with: qianru embed --kinds dense")
    return dense[0] if len(dense) == 1 else np.concatenate(dense)


class Student(nn.Module):
    """The network and the product that is thrown away, which learn together."""

    def __init__(self, network: nn.Module, projection: nn.Parameter) -> None:
        super().__init__()
        self.network, self.projection = network, projection


class Distiller:
    """The teacher's part of the loss. projection: (teacher's width, student's), learnt beside the student, or None"""

    def __init__(
        self, config: DistilConfig, teacher: Teacher, dim: int, *, seed: int = 0, processes: Processes = ALONE,
        device: str = "cpu",
    ) -> None:
        self.config, self.teacher, self.processes, self.device = config, teacher, processes, device
        self.projection: nn.Parameter | None = None
        fits = teacher.dim == dim or config.distance == "similarities"
        if config.widths == "project":
            draw = torch.Generator().manual_seed(seed)
            self.projection = nn.Parameter((torch.randn(teacher.dim, dim, generator=draw) * SPREAD).to(device))
        elif not fits and not (config.widths == "slice" and teacher.dim > dim):
            raise ShapeMismatch(f"The teacher makes {teacher.dim} dimensions, the student {dim}. Say widths = "
                                + ('"slice", if it is a Matryoshka model, or ' if teacher.dim > dim else "")
                                + '"project", or distance = "similarities".')

    def loss(self, sides: Sequence[Tensor], texts: Sequence[Sequence[str]], *, alike: bool) -> Tensor:
        """The distance of all texts' vectors from the teacher's.

        sides: (b, d) and (c, d), not brought to length 1;  texts: those of both
        alike: whether both are documents, not queries and documents
        """
        roles: tuple[Role, Role] = ("document" if alike else "query", "document")
        aims = [self.teacher.vectors(some, role) for some, role in zip(texts, roles, strict=True) if some]
        aim = torch.from_numpy(np.concatenate(aims)).to(self.device)
        made = torch.cat([side for side in sides if len(side)])
        if self.projection is not None:
            made = linear(made, self._shared())
        elif self.config.distance != "similarities":
            aim = aim[:, : made.shape[1]]                  # then brought to length 1, not before
        made, aim = normalize(made, dim=-1), normalize(aim, dim=-1)
        if self.config.distance == "similarities":
            return similarity_distance(made, aim)
        return embedding_distance(made, aim, self.config.distance)

    def _shared(self) -> Tensor:
        """The projection with its gradient's share: every process sees the whole batch, and gradients are summed."""
        assert self.projection is not None
        kept = self.projection.detach()
        return kept + (self.projection - kept) / self.processes.size


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()
