"""Files into a collection: each becomes passages that know where they stand; unchanged files cost no work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

from qianru.errors import BadFile, BadInput, UnknownName
from qianru.index.collection import Collection
from qianru.index.intake import BATCH_CHARS, BATCH_DOCUMENTS, SourceFile
from qianru.index.writer import Report
from qianru.text.chunk import chunk
from qianru.text.normalize import clean
from qianru.text.read import Problem, read_file, scan
from qianru.text.read.files import file_bytes, skipped_problem
from qianru.types import Document, Progress, Value


@dataclass(frozen=True, slots=True)
class Reading:
    """How files become passages.

    text_columns: of tables, those that hold text; the obvious one if none is named
    max_chars: of a passage;  overlap: sentences that a passage repeats from the one before
    encoding: of all files; recognised if none is named
    """

    text_columns: tuple[str, ...] | None = None
    max_chars: int = 300
    overlap: int = 1
    encoding: str | None = None


@dataclass(slots=True)
class FolderReport:
    """What adding files did.

    n_files, n_bytes: those that were read;  n_same: files unchanged since the last time
    n_unread: files that gave nothing but problems
    vanished: files of earlier times, under the given paths, that are gone; their passages stay unless pruned
    """

    n_files: int = 0
    n_bytes: int = 0
    n_same: int = 0
    n_unread: int = 0
    passages: Report = field(default_factory=Report)
    vanished: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def add_folder(
    collection: Collection,
    paths: Sequence[Path],
    reading: Reading = Reading(),
    *,
    prune: bool = False,
    progress: Progress | None = None,
) -> FolderReport:
    """Adds files, and folders with all that lies below them, as passages with the fields path, line and heading.

    Passages are named path#1, path#2, …, the path as seen from the folder that the collection lies in. A file that has
    changed has its passages replaced. prune: removes the passages of files that are gone. progress counts bytes. What
    cannot be read is reported and keeps its passages of earlier times, the rest is added.
    """
    report = FolderReport()
    root = _whole(collection.path).parent
    scans = [(path, scan(path)) for path in paths]
    files = {_name(file, root): (file, path.is_dir()) for path, found in scans for file in found.files}
    for path, found in scans:
        report.problems += [replace(problem, path=_name(path / problem.path, root)) for problem in found.problems]
        if found.skipped:
            report.problems.append(skipped_problem(path.as_posix(), found.skipped))
    known = set(collection.sources())
    total, done = sum(_size(file) for file, _ in files.values()), 0
    buffer: list[Document] = []
    complete: list[SourceFile] = []
    n_chars = 0

    def flush(begun: str | None = None) -> None:
        nonlocal n_chars
        report.passages += collection.add_passages(buffer, complete, begun)
        buffer.clear()
        complete.clear()
        n_chars = 0

    for name, (file, among_others) in files.items():
        digest = _digest(file, reading)
        if clean(name) != name:
            told = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            report.problems.append(Problem(told, None, "Its name is not UTF-8. Rename it."))
            report.n_unread += 1
        elif digest and collection.has_source(name, digest):
            report.n_same += 1
        else:
            n_passages, n_problems = 0, len(report.problems)
            try:
                for document in _passages(file, name, reading, report.problems):
                    buffer.append(document)
                    n_passages += 1
                    n_chars += len(document.text)
                    if len(buffer) >= BATCH_DOCUMENTS or n_chars >= BATCH_CHARS:
                        flush(name)
            except (BadInput, UnknownName) as error:       # a table without the columns of text
                if not among_others:
                    raise
                report.problems.append(Problem(name, None, str(error)))
            if n_passages:
                complete.append(SourceFile(name, digest, n_passages))
            elif name in known and (n_problems == len(report.problems) or _empty(file)):
                report.passages += Report(removed=collection.remove_sources([name]))
            # else it could not be read: it keeps its passages of earlier times and is tried again
            if n_passages or n_problems == len(report.problems):
                report.n_files += 1
                report.n_bytes += _size(file)
            else:
                report.n_unread += 1
        done += _size(file)
        if progress is not None:
            progress(done, total)
    flush()
    report.vanished = _vanished(collection, root, paths)
    if prune and report.vanished:
        report.passages += Report(removed=collection.remove_sources(report.vanished))
    return report


def _passages(file: Path, name: str, reading: Reading, problems: list[Problem]) -> Iterator[Document]:
    number = 0
    for source in read_file(file, text_columns=reading.text_columns, encoding=reading.encoding, path=name):
        if isinstance(source, Problem):
            problems.append(source)
            continue
        for piece in chunk(source, max_chars=reading.max_chars, overlap=reading.overlap):
            number += 1
            own: dict[str, Value] = {"path": name, "line": piece.line}
            if piece.heading:
                own["heading"] = piece.heading
            yield Document(f"{name}#{number}", piece.text, {**source.fields, **own})


def _name(file: Path, root: Path) -> str:
    """The path as seen from the root, or whole if it lies elsewhere."""
    whole = _whole(file)
    return (whole.relative_to(root) if whole.is_relative_to(root) else whole).as_posix()


def _whole(path: Path) -> Path:
    """The absolute path, the same from wherever it is written; links keep their names unless ".." goes through them."""
    whole = path.absolute()
    return whole.resolve() if ".." in whole.parts else whole


def _empty(file: Path) -> bool:
    """Whether it is a file of nothing but white space."""
    try:
        return file.is_file() and not file_bytes(file).strip()
    except BadFile:
        return False


def _digest(file: Path, reading: Reading) -> bytes:
    """16 bytes that change with the content of the file or the way it is read; none if it cannot be read."""
    if not file.is_file():      # a pipe would keep us waiting for ever
        return b""
    hasher = blake2b(repr(reading).encode(), digest_size=16)
    try:
        with file.open("rb") as stream:
            while piece := stream.read(1 << 20):
                hasher.update(piece)
    except OSError:
        return b""
    return hasher.digest()


def _vanished(collection: Collection, root: Path, paths: Sequence[Path]) -> list[str]:
    under = [_whole(path) for path in paths]
    return [name for name in collection.sources()
            if any((root / name).is_relative_to(path) for path in under) and not (root / name).exists()]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
