"""Characters folded one for one, so that every offset into the text still holds: width, script, broken halves."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from pathlib import Path

import numpy as np

from qianru.types import IntArray

SCRIPT_TABLE = Path(__file__).parent.parent / "data" / "simplified.txt"
_N_CODES = 0x110000
SHORT = 64      # characters, such as a query has; in so few it is cheaper to look first whether any changes
_WIDE = (
    range(0x3000, 0x3001),     # the ideographic space
    range(0xFF01, 0xFFEF),     # full-width Latin, half-width katakana and Hangul
    range(0xF900, 0xFB00),     # CJK compatibility ideographs: the same character, twice in Unicode
    range(0x2F800, 0x2FA20),
    range(0x2E80, 0x2FD6),     # radicals, which PDF files write in place of the characters
)
# A letter of an alphabet other than ASCII, or an accent on one. Han, kana, Hangul and Thai are written without spaces.
_FOREIGN = (
    "\u00aa\u00b5\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u0300-\u036f\u1e00-\u1fff"  # Latin, accents, old Greek
    "\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u03ff"  # Greek
    "\u0400-\u0481\u0483-\u0487\u048a-\u052f\u0531-\u0556\u0561-\u0587\u10a0-\u10ff"  # Cyrillic, Armenian, Georgian
    "\u0591-\u05bd\u05d0-\u05ea\u0620-\u0669\u066e-\u06d3\u0900-\u0963\u0966-\u0dff"  # Hebrew, Arabic, Indic
)
_IN_A_WORD = re.compile(f"[{_FOREIGN}][A-Za-z0-9{_FOREIGN}]|[A-Za-z0-9][{_FOREIGN}]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LETTER = re.compile(f"[{_FOREIGN}]")


def clean(text: str) -> str:
    """The text with lone halves of surrogate pairs, which UTF-8 cannot hold, as U+FFFD; the same object if it has none.

    >>> clean("好\\ud800") == "好\\ufffd"
    True
    """
    return _SURROGATE.sub("\ufffd", text) if _SURROGATE.search(text) else text


def fold(text: str, *, width: bool = True, script: bool = False) -> str:
    """The text with each character replaced by its plain form; as long as before.

    width: full-width forms, half-width katakana, compatibility ideographs and radicals to the usual character
    script: Traditional to Simplified, character by character; phrases that need their context are left to OpenCC
    Lone surrogates, which no file can hold, always become U+FFFD.

    >>> fold("ＢＧＥ－Ｍ３　的向量"), fold("電腦裡的檔案", script=True)
    ('BGE-M3 的向量', '电脑里的档案')
    """
    if text.isascii() or (len(text) < SHORT and _changing(width, script).isdisjoint(text)):
        return text
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    folded: str = _table(width, script)[codes].tobytes().decode("utf-32-le")
    return folded


def spelled_in_ascii(text: str) -> str:
    """The text with the letters of other alphabets replaced by q where they stand in words; the same object if none do.

    jieba takes only ASCII letters for parts of a word and cuts Café and Привет into letters; it is given this instead.

    >>> spelled_in_ascii("Café和Привет"), spelled_in_ascii("γ射线")
    ('Cafq和qqqqqq', 'γ射线')
    """
    return _LETTER.sub("q", text) if not text.isascii() and _IN_A_WORD.search(text) else text


@lru_cache(maxsize=1)
def simplified() -> dict[str, str]:
    """Traditional character -> Simplified character, from OpenCC's t2s."""
    lines = SCRIPT_TABLE.read_text(encoding="utf-8").splitlines()
    return {line[0]: line[2] for line in lines if not line.startswith("#")}


@lru_cache(maxsize=4)
def _changing(width: bool, script: bool) -> frozenset[str]:
    """The characters that fold changes."""
    return frozenset(map(chr, np.flatnonzero(_table(width, script) != np.arange(_N_CODES)).tolist()))


@lru_cache(maxsize=4)
def _table(width: bool, script: bool) -> IntArray:
    """(0x110000,) code point -> code point; 4.4 MB, made once."""
    table = np.arange(_N_CODES, dtype="<u4")
    table[0xD800:0xE000] = 0xFFFD
    if width:
        for block in _WIDE:
            for code in block:
                plain = unicodedata.normalize("NFKC", chr(code))
                if len(plain) == 1:
                    table[code] = ord(plain)
    if script:
        to = {ord(old): ord(new) for old, new in simplified().items()}
        for at in np.flatnonzero(np.isin(table, list(to))):
            table[at] = to[int(table[at])]
    return table
