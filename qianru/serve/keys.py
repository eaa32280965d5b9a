"""Keys that let a client in. Kept as hashes; a key itself is shown once, when it is made.

    sha256:9f86d081…  laptop          one line a key: its hash and what it is called

A key is 32 random bytes, so one round of SHA-256 is enough: nobody guesses one, and no table holds it.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from qianru.errors import BadFile, BadInput, StorageFailed
from qianru.models import environment

VARIABLE = "QIANRU_API_KEYS"
PREFIX = "qianru-"
LOOK_AGAIN_S = 1.0
_LINE = re.compile(r"sha256:([0-9a-f]{64})\s+(\S.*)")
_NAME = re.compile(r"[\w.@ -]{1,64}")
log = logging.getLogger("qianru.serve")


def from_environment(path: Path | None) -> Keys:
    """The keys of a file and of $QIANRU_API_KEYS, apart by commas."""
    return Keys(path, [key.strip() for key in (environment.secret(VARIABLE) or "").split(",") if key.strip()])


def new_key() -> str:
    """A key that nobody else has."""
    return PREFIX + secrets.token_urlsafe(32)


def hashed(key: str) -> str:
    """What is kept of a key.

    >>> hashed("test")[:12]
    '9f86d081884c'
    """
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def read_keys(path: Path) -> dict[str, str]:
    """hash -> name. Raises BadFile, naming the line that is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise BadFile(f"{path} cannot be read as a file of keys: {why}. Make one with: qianru keys new NAME --keys "
                      f"{path}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise BadFile(f"Line {number} of {path} is no hash of a key, 'sha256:… name'. Remove it.")
        found[match[1]] = match[2].strip()
    return found


def add_key(path: Path, name: str) -> str:
    """A new key, whose hash now stands in the file under that name; the file is for its owner alone.

    Raises BadInput for a name that is taken or no name.
    """
    if not _NAME.fullmatch(name):
        raise BadInput(f"A key's name has 1 to 64 letters, digits, spaces or any of . @ _ -, unlike {name!r:.80}.")
    known = read_keys(path) if path.exists() else {}
    if name in known.values():
        raise BadInput(f"{path} holds a key called {name} already. Remove that one first, or choose another name.")
    key = new_key()
    _write(path, {**known, hashed(key): name})
    return key


def remove_key(path: Path, name: str) -> None:
    """The key by that name lets nobody in any more. Raises UnknownName through BadInput where there is none."""
    known = read_keys(path)
    if name not in known.values():
        raise BadInput(f"{path} holds no key called {name}. It holds: {', '.join(known.values()) or 'none'}.")
    _write(path, {digest: owner for digest, owner in known.items() if owner != name})


def _write(path: Path, keys: Mapping[str, str]) -> None:
    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.touch(mode=0o600)
        beside.write_text("".join(f"sha256:{digest}  {name}\n" for digest, name in keys.items()), encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise StorageFailed(f"{path} cannot be written: {error.strerror or error}.") from error


class Keys:
    """Who may come in.

    path: a file of hashes, read again when it changes, so that a key can be taken back while the server runs
    plain: keys that the environment gave, kept as hashes too
    """

    def __init__(self, path: Path | None = None, plain: Iterable[str] = ()) -> None:
        self.path = path
        self._own = {hashed(key): f"{VARIABLE}[{i}]" for i, key in enumerate(plain)}
        self._read: dict[str, str] = {} if path is None else read_keys(path)
        self._stamp = self._stamp_now()
        self._looked = time.monotonic()

    def __len__(self) -> int:
        return len(self._own) + len(self._read)

    @property
    def wanted(self) -> bool:
        """Whether a key is asked for; also when the file's last key has been taken back."""
        return self.path is not None or bool(self._own)

    def name_of(self, key: str) -> str | None:
        """Whose key it is; None if nobody's. Takes as long for a wrong key as for a right one."""
        self._look_again()
        digest = hashed(key)
        found = None
        for known, name in (*self._own.items(), *self._read.items()):
            if hmac.compare_digest(digest, known):
                found = name
        return found

    def _look_again(self) -> None:
        now = time.monotonic()
        if self.path is None or now - self._looked < LOOK_AGAIN_S:
            return
        self._looked = now
        stamp = self._stamp_now()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._read = read_keys(self.path)
                log.info("Read %d keys again.", len(self._read))
            except BadFile as error:
                log.error("The keys stay as they were: %s", error)

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            stat = self.path.stat() if self.path else None
        except OSError:
            return None
        return None if stat is None else (stat.st_mtime_ns, stat.st_size, stat.st_ino)
