"""Weight files of other programs -> tensors by name: safetensors or PyTorch's, in one file or in shards.

Nothing in a file is executed, and no file is believed: a header that claims more than the file holds, a name that leads
out of the folder and an object that is no tensor are errors before anything is allocated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qianru.errors import BadFile, SpecMismatch
from qianru.models.json_file import JsonFile

MEND = "Download the file again."
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
LAYOUTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Where a folder keeps its weights, in order of preference."""
Lazy = Callable[[], Tensor]


def find_weights(folder: Path) -> Path:
    """The file to begin with; BadFile if the folder has none."""
    for name in LAYOUTS:
        if (folder / name).is_file():
            return folder / name
    raise BadFile(f"{folder} holds no weights: none of {', '.join(LAYOUTS)}. {MEND}")


def open_weights(path: Path) -> dict[str, Lazy]:
    """name -> a function that reads the tensor; of a file, or of all shards that an index file names."""
    if path.name.endswith(".index.json"):
        return _open_shards(path)
    return _open_safetensors(path) if path.suffix == ".safetensors" else _open_pickled(path)


class Weights:
    """Tensors to be taken by name, so that in the end none is missing and none is left.

    prefixes: what may stand before every name, e.g. "bert."; the first under which the anchor is found is used
    aliases: endings of old names -> of new ones
    """

    def __init__(
        self,
        tensors: Mapping[str, Lazy],
        place: str,
        *,
        anchor: str = "",
        prefixes: Sequence[str] = ("",),
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.place = place
        self.taken: dict[str, Tensor] = {}
        prefix = next((p for p in prefixes if p + anchor in tensors), "")
        self._tensors = {_renamed(name.removeprefix(prefix), aliases or {}): tensor for name, tensor in tensors.items()}

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor of that name, which must have that shape and hold floating-point numbers."""
        if name not in self._tensors:
            near = ", ".join(sorted(self._tensors)[:4])
            raise SpecMismatch(f"{self.place} lacks the tensor '{name}' {list(shape)}; it holds {near}, …. "
                               "The weights do not belong to this config.json, or are not complete.")
        tensor = self._tensors[name]()
        if tuple(tensor.shape) != shape or not tensor.is_floating_point():
            raise SpecMismatch(f"{self.place}: the tensor '{name}' is {tensor.dtype} {list(tensor.shape)}; the "
                               f"settings ask for floating-point numbers {list(shape)}. The files do not belong "
                               "together.")
        self.taken[name] = tensor
        return tensor

    def rows(self, name: str) -> int:
        """How many rows the tensor of that name has; 1 if it is not there, which `take` will say."""
        shape = tuple(self._tensors[name]().shape) if name in self._tensors else ()
        return shape[0] if shape else 1

    def finish(self, harmless: Iterable[str] = ()) -> None:
        """SpecMismatch if a tensor was not taken, unless a pattern of `harmless` matches its whole name."""
        left = [name for name in self._tensors if name not in self.taken
                and not any(re.fullmatch(pattern, name) for pattern in harmless)]
        if left:
            shown = ", ".join(sorted(left)[:4]) + (", …" if len(left) > 4 else "")
            raise SpecMismatch(f"{self.place} holds {len(left)} tensors that this architecture has no place for: "
                               f"{shown}. Another architecture made it; without them the vectors would be others.")


def _renamed(name: str, aliases: Mapping[str, str]) -> str:
    for old, new in aliases.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _open_shards(index: Path) -> dict[str, Lazy]:
    where = JsonFile.read(index).mapping("weight_map")
    tensors: dict[str, Lazy] = {}
    for shard in sorted({str(name) for name in where.values()}):
        if not PLAIN_NAME.fullmatch(shard) or not shard.endswith((".safetensors", ".bin")):
            raise BadFile(f"{index} names a shard {shard!r:.60}, which is no file of weights in its folder. {MEND}")
        tensors |= open_weights(index.parent / shard)
    wrong = sorted(set(where) ^ set(tensors))
    if wrong:
        raise BadFile(f"{index} and its shards differ: '{wrong[0]}' is in one of them only. {MEND}")
    return tensors


def _open_safetensors(path: Path) -> dict[str, Lazy]:
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, framework="pt")   # checks the header against the size of the file; reads no tensor
        names = list(file.keys())   # type: ignore[no-untyped-call]
    except (SafetensorError, OSError) as error:
        raise BadFile(f"{path} is not a whole safetensors file: {error}. {MEND}") from error
    return {name: _Reader(file, name) for name in names}


class _Reader:
    """Reads one tensor of an open file, mapped and not copied."""

    def __init__(self, file: Any, name: str) -> None:
        self.file, self.name = file, name

    def __call__(self) -> Tensor:
        tensor: Tensor = self.file.get_tensor(self.name)
        return tensor


def _open_pickled(path: Path) -> dict[str, Lazy]:
    """PyTorch's own format, which can hold any object: only tensors are let in."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"   # files from before 2020 are not, and cannot be mapped
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:   # what the unpickler raises depends on the damage
        reason = str(error).strip().partition("\n")[0][:200]
        raise BadFile(f"{path} is damaged, or holds other things than tensors, which are never executed: {reason}. "
                      "Use a folder with model.safetensors.") from error
    if not isinstance(held, dict) or not all(isinstance(v, Tensor) and isinstance(k, str) for k, v in held.items()):
        raise BadFile(f"{path} holds other things than tensors by name. Use a folder with model.safetensors.")
    for name, tensor in held.items():
        if tensor.numel() * tensor.element_size() > size:
            raise BadFile(f"{path}: the tensor '{name}' claims more bytes than the file has. {MEND}")
    return given(held)


class _Given:
    """A tensor that is there already."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __call__(self) -> Tensor:
        return self.tensor


def given(tensors: Mapping[str, Tensor]) -> dict[str, Lazy]:
    """Tensors in memory in the shape of those in a file."""
    return {name: _Given(tensor) for name, tensor in tensors.items()}
