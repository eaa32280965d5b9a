"""Parquet files and folders of Hugging Face datasets: mapped into memory, so that the disk holds them."""

from __future__ import annotations

import tempfile
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qianru.errors import BadFile, BadInput, require
from qianru.models.json_file import JsonFile

AT_ONCE = 1024   # rows of Parquet decoded together


class ArrowRows:
    """The rows of Arrow files one after the other."""

    def __init__(self, path: Path, files: list[Path]) -> None:
        """path: what the user named, for messages"""
        pyarrow = require("pyarrow", "evaluate", f"Reading {path}")
        require("pyarrow.ipc", "evaluate", f"Reading {path}")
        self.path, self._files = path, files
        self._batches: list[Any] = []
        self._ends: list[int] = []
        for file in files:
            self._take(pyarrow, file)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, i: int) -> dict[str, Any]:
        at = bisect_right(self._ends, i)
        row: dict[str, Any] = self._batches[at].slice(i - (self._ends[at - 1] if at else 0), 1).to_pylist()[0]
        return row

    @property
    def names(self) -> list[str]:
        """The columns."""
        if not len(self):
            raise BadInput(f"{self.path} holds no rows.")
        return list(self._batches[0].schema.names)

    def place(self, i: int) -> str:
        """file, row: for messages."""
        return f"{self.path}, row {i + 1}"

    def blocks(self) -> Iterator[bytes]:
        """All bytes of all files, for a fingerprint."""
        for path in self._files:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    yield block

    def _take(self, pyarrow: Any, path: Path) -> None:
        try:
            held = _unpacked(pyarrow, path) if path.suffix == ".parquet" else pyarrow.memory_map(str(path))
            try:
                reader = pyarrow.ipc.open_file(held)
                batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            except pyarrow.ArrowInvalid:           # `datasets` writes streams
                held.seek(0)
                batches = list(pyarrow.ipc.open_stream(held))
        except (OSError, pyarrow.ArrowException) as error:
            raise BadFile(f"{path} is not a whole Arrow or Parquet file: {error}. Make it again.") from error
        for batch in batches:
            if batch.num_rows:
                self._batches.append(batch)
                self._ends.append(len(self) + batch.num_rows)


def dataset_files(folder: Path) -> list[Path]:
    """The files of a folder that `save_to_disk` wrote, or of a cloned one with Parquet files, in order.

    Raises BadInput for a folder with several splits: which one to train on is not guessed.
    """
    if (folder / "dataset_dict.json").is_file():
        splits = sorted(path.name for path in folder.iterdir() if (path / "state.json").is_file())
        raise BadInput(f"{folder} holds the splits {', '.join(splits)}. Name one, e.g. {folder / splits[0]}."
                       if splits else f"{folder} names splits that are not there. Save the data set again.")
    if (folder / "state.json").is_file():
        state = JsonFile.read(folder / "state.json")
        named = [str(entry.get("filename")) for entry in state.values.get("_data_files", [])]
        files = [folder / name for name in named if name == Path(name).name]
        missing = [path for path in files if not path.is_file()]
        if missing or not files:
            raise BadFile(f"{folder} lacks {missing[0].name if missing else 'its files'}. Save the data set again.")
        return files
    home = folder / "data" if (folder / "data").is_dir() else folder
    files = sorted(home.glob("*.parquet"))
    splits = sorted({path.name.partition("-")[0].removesuffix(".parquet") for path in files})
    if len(splits) > 1 and "train" in splits:
        files = [path for path in files if path.name.startswith("train")]   # the one meant for it
    elif len(splits) > 1:
        raise BadInput(f"{home} holds Parquet files of {', '.join(splits)}. Name one file.")
    if not files:
        raise BadInput(f"{folder} is no folder of examples: it has neither state.json nor Parquet files.")
    return files


def _unpacked(pyarrow: Any, path: Path) -> Any:
    """The same rows mapped from an Arrow file that goes with the process: Parquet cannot be read row by row."""
    parquet = require("pyarrow.parquet", "evaluate", f"Reading {path}")
    source = parquet.ParquetFile(path)
    with tempfile.NamedTemporaryFile(suffix=".arrow") as file:
        with pyarrow.ipc.new_file(file.name, source.schema_arrow) as sink:
            for batch in source.iter_batches(AT_ONCE):
                sink.write_batch(batch)
        return pyarrow.memory_map(file.name)       # stays readable when the name is gone
