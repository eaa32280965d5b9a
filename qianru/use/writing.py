"""Text files that appear whole or not at all."""

from __future__ import annotations

import csv
import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from qianru.errors import BadInput, QianruError, StorageFailed


@contextmanager
def written(path: str | Path, *, newline: str = "\n") -> Iterator[TextIO]:
    """A UTF-8 file to write to, which takes the path's place when all is written; lone surrogates become "?".

    Folders on the way are made. Raises StorageFailed where the disk refuses; what stood there before is then intact.
    """
    path = Path(path)
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with new.open("x", encoding="utf-8", errors="replace", newline=newline) as file:
                yield file
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
    except QianruError:         # of what writes; some of these are OSErrors
        raise
    except OSError as error:
        raise StorageFailed(f"'{path}' could not be written: {error.strerror or error}. What stood there before is "
                            "intact; free some space or name another place.") from error


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes rows as .csv, or else as JSON lines with the header's names; whole or not at all."""
    if path.suffix.lower() == ".csv":
        with written(path, newline="") as file:
            table = csv.writer(file)
            table.writerow(header)
            table.writerows(rows)
        return
    with written(path) as file:
        file.writelines(json.dumps(dict(zip(header, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)


def check_table(path: Path | None, what: str) -> None:
    """BadInput for a path that write_table has no format for."""
    if path is not None and path.suffix.lower() not in (".csv", ".jsonl"):
        raise BadInput(f"{what} cannot be written to '{path.name}'. Give a name that ends in .csv or .jsonl.")
