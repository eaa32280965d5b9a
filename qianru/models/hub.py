"""What a hub says of a model: its files with size and hash, and which of them a model needs.

Both hubs are asked by their own HTTP interface:
    Hugging Face   /api/models/{id}/revision/{revision}?blobs=true      /{id}/resolve/{commit}/{path}
    ModelScope     /api/v1/models/{id}/repo/files?Revision={revision}   /api/v1/models/{id}/repo?FilePath={path}
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from qianru.errors import BadFile, QianruError, ServerFailed, UnknownName
from qianru.models import environment
from qianru.models.catalogue import HubName, catalogue
from qianru.models.web import Failure, Patience, get_json, is_private

SAFE_PATH = re.compile(r"(?!\.)[\w.-]+(/(?!\.)[\w.-]+)*", re.ASCII)
MODEL_ID = re.compile(r"(?!\.)[\w.-]+/(?!\.)[\w.-]+", re.ASCII)
SETTINGS = {
    "config.json", "configuration.json", "modules.json", "sentence_bert_config.json", "sentence_roberta_config.json",
    "sentence_xlm-roberta_config.json", "config_sentence_transformers.json", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "tokenizer.model",
    "spiece.model",
}
"""In any folder of the model. Never code, never ONNX, never anything else that is pickled."""
WEIGHTS = (
    re.compile(r"model\.safetensors"),
    re.compile(r"model\.safetensors\.index\.json|model-\d+-of-\d+\.safetensors"),
    re.compile(r"pytorch_model\.bin"),
    re.compile(r"pytorch_model\.bin\.index\.json|pytorch_model-\d+-of-\d+\.bin"),
)
"""The first of these forms that a folder has is taken."""
LIST_ATTEMPTS = 3       # nothing is lost yet, and somebody who is offline wants to be told
BGE_M3_HEADS = {"sparse_linear.pt", "colbert_linear.pt"}


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file as the hub describes it, with one of the two hashes: of its content, or of the git blob that it is."""

    path: str
    size: int
    url: str
    sha256: str = ""
    git_sha1: str = ""

    @property
    def digest(self) -> str:
        """Its hash, whichever is known."""
        return self.sha256 or self.git_sha1


@dataclass(frozen=True, slots=True)
class Hub:
    """Where models come from, and whose interface it has."""

    kind: HubName
    endpoint: str
    token: str | None = None

    @property
    def host(self) -> str:
        """For messages."""
        return urlsplit(self.endpoint).netloc

    @property
    def default_revision(self) -> str:
        """The branch that is meant when none is named."""
        return "main" if self.kind == "huggingface" else "master"


def hub(source: str) -> Hub:
    """The hub by its name, or a mirror of Hugging Face by its address."""
    if source == "huggingface":
        endpoint = environment.huggingface_endpoint()
        return Hub("huggingface", endpoint, environment.huggingface_token() if is_private(endpoint) else None)
    if source == "modelscope":
        return Hub("modelscope", environment.modelscope_endpoint())
    if "://" in source:
        return Hub("huggingface", source.rstrip("/"))     # no token: it is not the hub that gave it
    raise UnknownName("source of models", source, ["huggingface", "modelscope", "https://address-of-a-mirror"])


def listing(where: Hub, model_id: str, revision: str, patience: Patience) -> tuple[str, list[HubFile]]:
    """(commit, the files that a model may need), each with its size and hash.

    Raises UnknownName if the hub has no such model, ServerFailed if it cannot be reached or refuses.
    """
    ask = _huggingface if where.kind == "huggingface" else _modelscope
    try:
        hasty = replace(patience, attempts=min(patience.attempts, LIST_ATTEMPTS))
        commit, files = ask(where, model_id, revision, hasty)
    except Failure as failure:
        raise explained(where, model_id, revision, failure) from failure
    except QianruError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ServerFailed(f"{where.host} lists the files of {model_id} in a form that is not known here ({error!r}). "
                           "Try another source with --from.") from error
    files = [file for file in files if SAFE_PATH.fullmatch(file.path) and _may_be_needed(file.path)]
    for file in files:
        if not re.fullmatch("[0-9a-f]{64}" if file.sha256 else "[0-9a-f]{40}", file.digest):
            raise BadFile(f"{where.host} gives no hash for {file.path} of {model_id}, so it could not be checked. "
                          "Try another source with --from.")
    return commit, sorted(files, key=lambda file: file.path)


def needed(files: Iterable[HubFile], folders: Sequence[str]) -> list[HubFile]:
    """The files to download: settings first, then weights, of the model's own folder and those that it names.

    folders: paths of modules.json, "" for the model's own
    """
    wanted: list[HubFile] = []
    listed = list(files)
    for folder in folders:
        here = {file.path.rpartition("/")[2]: file for file in listed if file.path.rpartition("/")[0] == folder}
        wanted += [file for name, file in here.items() if name in SETTINGS]
        wanted += next(filter(None, ([file for name, file in here.items() if form.fullmatch(name)]
                                     for form in WEIGHTS)), [])
        wanted += [file for name, file in here.items() if name in BGE_M3_HEADS]
    return sorted(set(wanted), key=lambda file: (file.path.rpartition("/")[2] not in SETTINGS, file.path))


def has_weights(files: Iterable[HubFile]) -> bool:
    """Whether there is a file of weights in a form that Qianru reads."""
    return any(form.fullmatch(file.path.rpartition("/")[2]) for file in files for form in WEIGHTS)


def fingerprint(files: Iterable[HubFile]) -> str:
    """12 hex digits that change if any file does."""
    return sha256(repr([(file.path, file.size, file.digest) for file in files]).encode()).hexdigest()[:12]


def explained(where: Hub, model_id: str, revision: str, failure: Failure) -> Exception:
    """The same failure in the words of somebody who asked for a model."""
    if failure.code == "RevisionNotFound":
        return UnknownName(f"revision of {model_id} on {where.host}", revision, [where.default_revision])
    if failure.status == 404 or failure.code == "RepoNotFound":
        known = [card.ids[where.kind] for card in catalogue() if where.kind in card.ids]
        return UnknownName(f"model on {where.host}", model_id, known)
    if failure.status in (401, 403):
        how = ("Ask for access on its page, then set HF_TOKEN to your token." if where.kind == "huggingface"
               else "Ask for access on its page, or take it from another source with --from.")
        return ServerFailed(f"{failure} {model_id} is not open to everybody. {how}")
    if failure.status is None:
        other = "modelscope" if where.kind == "huggingface" else "huggingface"
        return ServerFailed(f"{failure} Or try --from {other}, or the address of a mirror.")
    return failure


def _may_be_needed(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name in SETTINGS or name in BGE_M3_HEADS or any(form.fullmatch(name) for form in WEIGHTS)


def _huggingface(where: Hub, model_id: str, revision: str, patience: Patience) -> tuple[str, list[HubFile]]:
    url = f"{where.endpoint}/api/models/{model_id}/revision/{quote(revision, safe='')}?blobs=true"
    answer = get_json(url, token=where.token, patience=patience)
    commit = str(answer["sha"])
    if not re.fullmatch("[0-9a-f]{40}", commit):
        raise ValueError(f"commit {commit:.50}")
    files = [_huggingface_file(where, model_id, commit, entry) for entry in answer["siblings"]]
    return commit, files


def _huggingface_file(where: Hub, model_id: str, commit: str, entry: dict[str, Any]) -> HubFile:
    path, large = str(entry["rfilename"]), entry.get("lfs") or {}
    url = f"{where.endpoint}/{model_id}/resolve/{commit}/{quote(path)}"
    if large:
        return HubFile(path, int(large["size"]), url, sha256=str(large["sha256"]))   # its blobId is that of a pointer
    return HubFile(path, int(entry["size"]), url, git_sha1=str(entry["blobId"]))


def _modelscope(where: Hub, model_id: str, revision: str, patience: Patience) -> tuple[str, list[HubFile]]:
    base = f"{where.endpoint}/api/v1/models/{model_id}/repo"
    query = urlencode({"Revision": revision, "Recursive": "true"})
    answer = get_json(f"{base}/files?{query}", patience=patience)
    if not answer["Success"]:
        raise Failure(f"{where.host} answers: {answer.get('Message')!r:.200}.", status=200)
    files = [HubFile(str(entry["Path"]), int(entry["Size"]),
                     f"{base}?{urlencode({'Revision': revision, 'FilePath': entry['Path']})}", str(entry["Sha256"]))
             for entry in answer["Data"]["Files"] if entry["Type"] == "blob"]
    return revision, files
