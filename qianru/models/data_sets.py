"""Data sets of the hubs: downloaded by the same machinery as models, file by file, each checked against its hash.

    datasets/huggingface/C-MTEB/TNews-classification/
        317f262b….json                       what that revision was when it was downloaded; written last
        1f0c9a7be2d4/TNews-classification/…  its files
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from qianru.errors import BadFile, QianruError, ServerFailed, UnknownName
from qianru.models import download as room, environment
from qianru.models.hub import LIST_ATTEMPTS, SAFE_PATH, Hub, HubFile, fingerprint, hub
from qianru.models.transfer import HubModel
from qianru.models.web import Failure, get_json
from qianru.types import Progress

KINDS = (".parquet", ".jsonl", ".jsonl.gz", ".json", ".json.gz", ".tsv", ".tsv.gz", ".csv", ".csv.gz", ".zip")
PAGE = 100
FORMAT = 1


def data_set_here(hub_name: str, name: str, revision: str = "") -> Path | None:
    """The folder of a data set that was downloaded, at that revision or else the hub's usual one; None if none was."""
    home = _home(hub_name, name)
    for wanted in dict.fromkeys((revision, Hub(hub_name, "").default_revision)):   # type: ignore[arg-type]
        record = room._record(home / room._pointer(wanted)) if wanted else None
        if record is not None:
            return record[0]
    return None


def download_data_set(name: str, *, source: str = "huggingface", revision: str = "", only: Sequence[str] = (),
                      progress: Progress | None = None) -> Path:
    """The folder of the data set, with its tables, each checked against the hub's own hash.

    name: owner/name on the hub;  source, progress: as in qianru.models.download.download
    revision: a branch, tag or commit, else the hub's usual one
    only: beginnings of the paths that are wanted; all tables if none is named
    Raises what download raises, BadFile if the data set has no such tables.
    """
    where = hub(source)
    revision = revision or where.default_revision
    if environment.is_offline():
        here = data_set_here(where.kind, name, revision)
        if here is None:
            raise BadFile(f"The data set {name} is not on this machine, and QIANRU_OFFLINE forbids to download it.")
        return here
    commit, files = _listing(where, name, revision)
    wanted = [file for file in files if not only or file.path.startswith(tuple(only))]
    if not wanted:
        raise BadFile(f"{name} on {where.host} has no tables{' below ' + ' or '.join(only) if only else ''}. "
                      "Choose another source with --from.")
    home = _home(where.kind, name)
    state = f"{fingerprint(wanted)}/{name.rpartition('/')[2]}"
    with room._told(home):
        room._fetch_all(HubModel(where, name, room.PATIENCE), wanted, home, state, progress)
        record = {"format": FORMAT, "id": name, "source": where.endpoint, "revision": revision, "commit": commit,
                  "folder": state, "files": {file.path: [file.size, file.digest] for file in wanted}}
        room._write(home / room._pointer(revision), record)
    return home / state


def _home(kind: str, name: str) -> Path:
    return environment.cache_folder() / "datasets" / kind / name


def _listing(where: Hub, name: str, revision: str) -> tuple[str, list[HubFile]]:
    """(commit, the tables of the data set)."""
    try:
        commit, files = (_huggingface if where.kind == "huggingface" else _modelscope)(where, name, revision)
    except Failure as failure:
        if failure.code == "RevisionNotFound":
            raise UnknownName(f"revision of {name} on {where.host}", revision, [where.default_revision]) from failure
        if failure.status == 404 or failure.code == "RepoNotFound":
            raise UnknownName(f"data set on {where.host}", name, []) from failure
        raise
    except QianruError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ServerFailed(f"{where.host} lists the files of {name} in a form that is not known here ({error!r}). "
                           "Try another source with --from.") from error
    files = [file for file in files if SAFE_PATH.fullmatch(file.path) and file.path.lower().endswith(KINDS)]
    for file in files:
        if not re.fullmatch("[0-9a-f]{64}" if file.sha256 else "[0-9a-f]{40}", file.digest):
            raise BadFile(f"{where.host} gives no hash for {file.path} of {name}, so it could not be checked. "
                          "Try another source with --from.")
    return commit, sorted(files, key=lambda file: file.path)


def _huggingface(where: Hub, name: str, revision: str) -> tuple[str, list[HubFile]]:
    url = f"{where.endpoint}/api/datasets/{name}/revision/{quote(revision, safe='')}?blobs=true"
    answer = get_json(url, token=where.token, patience=_hasty())
    commit = str(answer["sha"])
    files = []
    for entry in answer["siblings"]:
        path, large = str(entry["rfilename"]), entry.get("lfs") or {}
        at = f"{where.endpoint}/datasets/{name}/resolve/{commit}/{quote(path)}"
        files.append(HubFile(path, int(large["size"]), at, sha256=str(large["sha256"])) if large
                     else HubFile(path, int(entry["size"]), at, git_sha1=str(entry["blobId"])))
    return commit, files


def _modelscope(where: Hub, name: str, revision: str) -> tuple[str, list[HubFile]]:
    base = f"{where.endpoint}/api/v1/datasets"
    number = _asked(f"{base}/{name}")["Id"]
    files = [
        HubFile(str(entry["Path"]), int(entry["Size"]),
                f"{base}/{name}/repo?{urlencode({'Revision': revision, 'FilePath': entry['Path']})}",
                str(entry["Sha256"]))
        for entry in _tree(f"{base}/{number}/repo/tree", revision) if entry["Type"] == "blob"
    ]
    return revision, files


def _tree(url: str, revision: str) -> Iterator[Mapping[str, Any]]:
    """The entries of all pages."""
    page = 1
    while True:
        query = {"Revision": revision, "Root": "/", "Recursive": "True", "PageNumber": page, "PageSize": PAGE}
        entries = _asked(f"{url}?{urlencode(query)}")["Files"]
        yield from entries
        if len(entries) < PAGE:
            return
        page += 1


def _asked(url: str) -> Any:
    """What ModelScope answers, without its wrapping."""
    answer = get_json(url, patience=_hasty())
    if not answer["Success"]:
        raise Failure(f"{url} answers: {answer.get('Message')!r:.200}.", status=200)
    return answer["Data"]


def _hasty() -> Any:
    return replace(room.PATIENCE, attempts=min(room.PATIENCE.attempts, LIST_ATTEMPTS))
