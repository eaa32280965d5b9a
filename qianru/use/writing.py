"""Text files that appear whole or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from qianru.errors import QianruError, StorageFailed


@contextmanager
def written(path: str | Path, *, newline: str = "\n") -> Iterator[TextIO]:
    """A UTF-8 file to write to, which takes the path's place when all is written; lone surrogates become "?".

    Raises StorageFailed where the disk refuses; what stood there before is then intact.
    """
    path = Path(path)
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        with new.open("x", encoding="utf-8", errors="replace", newline=newline) as file:
            yield file
        new.replace(path)
    except QianruError:         # of what writes; some of these are OSErrors
        raise
    except OSError as error:
        raise StorageFailed(f"'{path}' could not be written: {error.strerror or error}. What stood there before is "
                            "intact; free some space or name another place.") from error
    finally:
        new.unlink(missing_ok=True)
