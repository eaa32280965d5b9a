"""Files to bytes, and folders to files, whatever stands there: links in a loop, pipes, archives that swell."""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from qianru.errors import BadFile, BadInput
from qianru.text.read.source import Problem

MAX_BYTES = 512 << 20      # of a file, also unpacked: text takes about three times as much memory while it is read
KINDS = {
    ".txt": "plain", ".text": "plain", ".md": "markdown", ".markdown": "markdown",
    ".html": "html", ".htm": "html", ".xhtml": "html",
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json",
    ".docx": "docx", ".pdf": "pdf",
}      # fmt: skip
TABLES = ("csv", "tsv", "jsonl", "json")
_OURS = "collection.sqlite"      # what marks a stored collection; its own files are no documents


@dataclass(slots=True)
class Scan:
    """What lies below a folder.

    files: those of a kind that is read, sorted;  skipped: suffix -> number of other files
    """

    files: list[Path] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)


def kind_of(path: Path) -> str | None:
    """Which reader takes a file of that name: "plain", "csv", …; None if none does.

    >>> kind_of(Path("三国演义.txt.gz")), kind_of(Path("照片.png"))
    ('plain', None)
    """
    suffix = path.suffix.lower()
    if suffix == ".gz":
        kind = KINDS.get(Path(path.stem).suffix.lower())
        return None if kind in ("docx", "pdf") else kind
    return KINDS.get(suffix)


def scan(path: Path) -> Scan:
    """The files to read: the file itself, or all below a folder, without hidden ones and stored collections.

    A folder that is reached by several ways is read once, by the way without a link if there is one.
    Raises BadFile if nothing is there or a folder cannot be listed, BadInput if a folder holds nothing to read.
    """
    path = Path(path)
    if not path.is_dir():
        check_there(path, "file or folder")
        return Scan([path])
    found = Scan()
    seen: set[tuple[int, int]] = set()
    _walk(path, found, seen)
    if not found.files:
        told = f"{path} holds nothing to read" + (f", only {_counts(found.skipped)}" if found.skipped else "")
        troubles = "".join(f" {problem}" for problem in found.problems[:3])
        raise BadInput(f"{told}. Qianru reads {', '.join(KINDS)} and .gz of the texts among them.{troubles}")
    found.files.sort(key=lambda file: file.relative_to(path).parts)
    return found


def check_there(path: Path, what: str = "file") -> None:
    """BadFile where nothing is there."""
    if not os.path.lexists(path):
        raise BadFile(f"There is no {what} {path}. Check the spelling, and where you are: {Path.cwd()}.")


def skipped_problem(path: str, skipped: Counter[str]) -> Problem:
    """One line on all files that were passed over."""
    return Problem(path, None, f"Passed over files of kinds that are not read: {_counts(skipped)}.")


def file_bytes(path: Path) -> bytes:
    """The content, unpacked if the name ends in .gz; never waits for a pipe.

    Raises BadFile with the reason, without the path.
    """
    data = _raw_bytes(path)
    if path.suffix.lower() != ".gz":
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            unpacked = packed.read(MAX_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadFile(f"It is no complete gzip file: {error}.") from None
    if len(unpacked) > MAX_BYTES:
        raise BadFile(f"Unpacked it is larger than {MAX_BYTES >> 20} MiB. Split it.")
    return unpacked


def _raw_bytes(path: Path) -> bytes:
    try:
        # Without O_NONBLOCK opening a pipe waits for somebody to write into it.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise BadFile(f"It cannot be opened: {error.strerror or error}.") from None
    status = os.fstat(number)
    if not stat.S_ISREG(status.st_mode):
        os.close(number)
        raise BadFile(f"It is {'a folder' if stat.S_ISDIR(status.st_mode) else 'a pipe or device'}, not a file.")
    with os.fdopen(number, "rb") as stream:
        if status.st_size > MAX_BYTES:
            raise BadFile(f"It is larger than {MAX_BYTES >> 20} MiB. Split it.")
        try:
            data = stream.read(MAX_BYTES + 1)
        except OSError as error:
            raise BadFile(f"It cannot be read: {error.strerror or error}.") from None
    if len(data) > MAX_BYTES:
        raise BadFile(f"It is larger than {MAX_BYTES >> 20} MiB. Split it.")
    return data


def _walk(root: Path, found: Scan, seen: set[tuple[int, int]]) -> None:
    waiting, links = [root], list[Path]()
    while waiting or links:
        folder = waiting.pop() if waiting else links.pop(0)
        try:
            status = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            if folder == root:
                raise BadFile(f"{root} cannot be listed: {error.strerror or error}.") from None
            reason = f"It cannot be opened: {error.strerror or error}."
            found.problems.append(Problem(_below(folder, root), None, reason))
            continue
        if (status.st_dev, status.st_ino) in seen:
            reason = "It is a link to a folder that is read already; it is not read again."
            found.problems.append(Problem(_below(folder, root), None, reason))
            continue
        seen.add((status.st_dev, status.st_ino))
        if folder != root and any(entry.name == _OURS for entry in entries):
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = folder / entry.name
            if _is_folder(entry):
                (links if entry.is_symlink() else waiting).append(path)
            elif kind_of(path):
                found.files.append(path)
            else:
                found.skipped[path.suffix.lower() or "without suffix"] += 1


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:      # a link in a loop: taken for a file, and reported when it is read
        return False


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _counts(skipped: Counter[str]) -> str:
    told = [f"{suffix} ({n:,})" for suffix, n in skipped.most_common(8)]
    return ", ".join(told) + (f" and {len(skipped) - 8} more kinds" if len(skipped) > 8 else "")
