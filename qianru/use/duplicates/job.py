"""Near-duplicates among the texts of files of any size: read twice, never held, and stopped without loss."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from qianru.errors import BadFile, BadInput, QianruError, StorageFailed, UnknownName
from qianru.text.read import Source
from qianru.types import FloatArray, Progress
from qianru.use.duplicates.finding import THRESHOLD, check_threshold
from qianru.use.duplicates.grouping import Duplicates, Keep, alike_as_a_whole, grouped, preference
from qianru.use.duplicates.join import Log, similar_pairs
from qianru.use.duplicates.shingles import AT_ONCE, Shingled, Shingler, mapped
from qianru.use.moments import Moments
from qianru.use.writing import written

SUFFIXES = (".jsonl", ".csv", ".txt")
CARD = "card.json"
REPORT_EVERY = 256      # texts
Read = Callable[[], Iterator[Source]]
Watch = Callable[[str], Progress]


@dataclass(frozen=True, slots=True)
class DedupPlan:
    """What to find and what to keep of it.

    threshold, keep: as in find_duplicates;  field: that "largest" goes by, such as a date
    """

    threshold: float = THRESHOLD
    keep: Keep = "first"
    field: str | None = None

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        preference(self.keep, np.zeros(0, np.int64), None if self.field is None else [])


@dataclass(frozen=True, slots=True, eq=False)
class DedupReport:
    """What was found.

    n_empty: texts without letters, digits or characters, which are kept
    similarities: of the texts dropped with those kept in their place
    """

    n_texts: int
    n_kept: int
    n_groups: int
    n_empty: int
    largest: int
    similarities: FloatArray


def deduplicate(
    read: Read, output: Path, plan: DedupPlan = DedupPlan(), *, groups: Path | None = None, key: str = "",
    watch: Watch | None = None,
) -> DedupReport:
    """Writes the texts that are kept, and on request the groups; both appear whole or not at all.

    read: the texts, the same each time it is called
    output: .jsonl or .csv (rows with all that they held) or .txt (one text a line)
    groups: JSON lines, each with the text kept and its duplicates with their similarities
    key: changes when the texts do; a job stopped with the same key and plan goes on where it was
    watch: gives what counts, for "Reading", "Comparing" and "Writing"
    On the way 12 bytes a character lie in a folder beside the output. Memory: 700 MB and 100 bytes a text.
    Raises BadInput for other suffixes, UnknownName for a field that no text has, BadFile where the texts have changed
    between two readings.
    """
    output = Path(output)
    if output.suffix.lower() not in SUFFIXES:
        raise BadInput(f"What is kept cannot be written to '{output.name}'. Give a name that ends in "
                       f"{', '.join(SUFFIXES)}.")
    if groups is not None and Path(groups).suffix.lower() != ".jsonl":
        raise BadInput(f"Groups are written as JSON lines, not to '{Path(groups).name}'. Give a name that ends in "
                       ".jsonl.")
    watch = watch or (lambda what: lambda done, total: None)
    folder = output.with_name(f".{output.name}.work")
    mark = sha256(json.dumps([key, asdict(plan)]).encode()).hexdigest()
    try:
        state = _state(folder, mark) or _read_all(folder, mark, read, plan, watch("Reading"))
        preferred = preference(plan.keep, state.sets.sizes, state.values)
        same = alike_as_a_whole(state.sets)
        pairs = similar_pairs(state.sets, plan.threshold, np.unique(same), log=Log(folder), progress=watch("Comparing"))
        found = grouped(pairs, same, preferred)
        _write(read, output, groups, found, state.columns, watch("Writing"))
    except QianruError:         # some of these are OSErrors
        raise
    except OSError as error:
        raise StorageFailed(f"The work in {folder} could not go on: {error.strerror or error}. The same command goes "
                            "on from there when there is room.") from error
    n_members = np.bincount(found.leaders, minlength=1)
    report = DedupReport(len(found.leaders), len(found.kept), int((n_members > 1).sum()),
                         int((state.sets.sizes == 0).sum()), int(n_members.max(initial=0)),
                         found.similarities[found.leaders != np.arange(len(found.leaders))])
    del state, pairs
    shutil.rmtree(folder, ignore_errors=True)
    return report


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """All texts read: their sets, the values of the field to go by as numbers, the names of columns."""

    sets: Shingled
    values: list[float | None] | None
    columns: list[str]


def _state(folder: Path, mark: str) -> _State | None:
    """What a job with the same mark has read; an older one's folder is emptied."""
    try:
        card = json.loads((folder / CARD).read_text("utf-8"))
    except (OSError, ValueError):
        card = {}
    if card.get("mark") != mark:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    arrays = [mapped(folder / f"{name}.bin", kind) for name, kind in _ARRAYS.items()]
    return _State(Shingled(arrays[0], mapped(folder / "keys.u64", np.uint64), *arrays[1:]), card["values"],
                  card["columns"])


_ARRAYS = {"offsets": np.int64, "sizes": np.int64, "wholes": np.uint64}


def _read_all(folder: Path, mark: str, read: Read, plan: DedupPlan, progress: Progress) -> _State:
    folder.mkdir(parents=True)
    try:
        return _taken_in(folder, mark, read, plan, progress)
    except BaseException:      # what is read in part is read again
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _taken_in(folder: Path, mark: str, read: Read, plan: DedupPlan, progress: Progress) -> _State:
    shingler, columns = Shingler(folder), dict[str, None]()
    values: list[float | None] | None = None if plan.field is None else []
    order = Moments()
    texts: list[str] = []
    done = 0
    for source in read():
        texts.append(source.text)
        columns.update(dict.fromkeys(_row(source)))
        if values is not None and plan.field is not None:
            value = source.fields.get(plan.field, _row(source).get(plan.field))       # or what the text is made of
            values.append(None if value in (None, "") else order.take(value, f"the {plan.field} of {source.place}"))
        if len(texts) == AT_ONCE:
            shingler.add(texts)
            done += len(texts)
            texts = []
            progress(done, None)
    shingler.add(texts)
    if not done and not texts:
        raise BadFile("There is no text in these files.")
    if plan.field is not None and not any(value is not None for value in values or ()):
        raise UnknownName("field", plan.field, columns, "in these files")
    sets = shingler.finish()
    for name in _ARRAYS:
        getattr(sets, name).tofile(folder / f"{name}.bin")
    new = folder / "card.new"
    new.write_text(json.dumps({"mark": mark, "values": values, "columns": list(columns)}), "utf-8")
    new.replace(folder / CARD)
    return _State(sets, values, list(columns))


def _write(
    read: Read, output: Path, groups: Path | None, found: Duplicates, columns: list[str], progress: Progress
) -> None:
    """Reads once more and writes what is kept, then the groups."""
    n, leaders = len(found.leaders), found.leaders
    members = np.bincount(leaders, minlength=n)
    told: dict[int, tuple[str, str]] = {}
    suffix = output.suffix.lower()
    with written(output, newline="" if suffix == ".csv" else "\n") as file:
        table = csv.DictWriter(file, columns) if suffix == ".csv" else None
        if table is not None:
            table.writeheader()
        i = -1
        for i, source in enumerate(read()):
            if i >= n:
                raise BadFile(f"The files hold more than the {n:,} texts that they held before. Start again.")
            if leaders[i] == i:
                if table is not None:
                    table.writerow({name: _cell(value) for name, value in _row(source).items()})
                elif suffix == ".txt":
                    file.write(" ".join(source.text.splitlines()) + "\n")
                else:
                    file.write(json.dumps(_typed(source), ensure_ascii=False) + "\n")
            if groups is not None and members[leaders[i]] > 1:
                told[i] = (_name(source), source.text)
            if i % REPORT_EVERY == 0:
                progress(i, n)
        if i + 1 < n:
            raise BadFile(f"The files hold {i + 1:,} texts where they held {n:,} before. Start again.")
        if groups is not None:      # before what is kept takes its place: both or none
            _write_groups(groups, found, told)
    progress(n, n)


def _write_groups(path: Path, found: Duplicates, told: Mapping[int, tuple[str, str]]) -> None:
    with written(path) as file:
        for leader, *others in found.groups:
            kept = dict(zip(("id", "text"), told[leader], strict=True))
            dropped = [{"id": told[row][0], "similarity": round(float(found.similarities[row]), 4),
                        "text": told[row][1]} for row in others]
            file.write(json.dumps({"kept": kept, "duplicates": dropped}, ensure_ascii=False) + "\n")


def _row(source: Source) -> Mapping[str, Any]:
    """A row as it was read; of a line, its text and where it stood."""
    return source.row or {"id": _name(source), "text": source.text}


def _typed(source: Source) -> dict[str, Any]:
    """The same for JSON: a column of CSV that holds nothing but numbers holds numbers."""
    return {name: source.fields.get(name, value) if isinstance(value, str) else value
            for name, value in _row(source).items()}


def _name(source: Source) -> str:
    return source.id or source.place


def _cell(value: Any) -> Any:
    """As CSV can hold it: what is neither a text nor a number, as JSON; nothing for null."""
    plain = value is None or isinstance(value, str | float) or type(value) is int
    return value if plain else json.dumps(value, ensure_ascii=False)
