"""Bytes to text: the encoding recognised by strict decoding and by what the characters are, never by chance."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from dataclasses import dataclass

from qianru.errors import BadFile, UnknownName

KNOWN = ("utf-8", "gb18030", "big5", "utf-16", "latin-1", "windows-1252", "shift_jis", "euc-kr")
BINARY_BLOCK = 65_536
_BOMS = (      # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LEGACY = {"gb18030": (0xB0, 0xD7, 0xA9), "big5hkscs": (0xA4, 0xC6, 0xA3)}   # lead bytes: common Han; last of signs
_SANE = 0.5              # common characters among those that are not ASCII
_SAMPLE = 1_000_000
_FOREIGN = re.compile(r"[^\x00-\x7f]+")
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\v\b\x1b"))


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text, the encoding that it was in, and what was wrong with it.

    text: line ends are "\\n" alone, NUL characters are spaces, bytes that fit no encoding are U+FFFD
    warnings: (line or None, reason)
    """

    text: str
    encoding: str
    warnings: tuple[tuple[int | None, str], ...] = ()


def decode(data: bytes, encoding: str | None = None, hint: str | None = None) -> Decoded:
    """The text of the bytes.

    Without an encoding: that of the byte order mark, else UTF-8, else the hint (what the file says of itself), else
    GB18030 or Big5 if that gives common characters, else Windows-1252, which holds Latin-1. A file of mixed or damaged
    UTF-8 and GB18030 is read line by line, with a warning.
    Raises BadFile for bytes that are no text, UnknownName for an encoding that there is not.
    """
    if encoding is not None:
        return _finished(*_as_told(data, encoding))
    for mark, name in _BOMS:
        if data.startswith(mark):
            return _finished(*_as_told(data, name))
    if is_binary(data):
        raise BadFile("It holds bytes that are no text.")
    for named in ("utf-8", _plain_name(hint)):
        text = _strictly(data, named) if named else None
        if named and text is not None:
            return _finished(text, named, [])
    return _finished(*(_chinese(data) or _line_by_line(data) or (_western(data), "windows-1252", [])))


def is_binary(data: bytes) -> bool:
    """Whether the first block says that this is no text: control characters that no text has, or too many NULs."""
    block = data[:BINARY_BLOCK]
    n_controls = len(block) - len(block.translate(None, _CONTROLS))
    if n_controls == 0:
        return False
    # A stray NUL in a text is forgiven, in anything that is not even UTF-8 it is not.
    if b"\0" in block and _strictly(block[: block.rfind(b"\n") + 1] or block, "utf-8") is None:
        return True
    return n_controls > 0.05 * len(block)


def find_encoding(name: str) -> str:
    """Python's name of an encoding; UnknownName if there is none."""
    try:
        return codecs.lookup(name).name
    except (LookupError, ValueError):
        raise UnknownName("encoding", name, KNOWN) from None


def _as_told(data: bytes, encoding: str) -> tuple[str, str, list[tuple[int | None, str]]]:
    """Decoded with that encoding; what does not fit is replaced and reported."""
    name = find_encoding(encoding)
    codec = "utf-8-sig" if name == "utf-8" else name
    try:
        return data.decode(codec), name, []
    except UnicodeDecodeError:
        text = data.decode(codec, "replace")
        at = text.find("\ufffd")
        warning = f"{text.count(chr(0xFFFD)):,} places are not {name}; they became U+FFFD."
        return text, name, [(text.count("\n", 0, max(at, 0)) + 1, warning)]
    except LookupError:      # base64 and the like are codecs, but make no text
        raise UnknownName("encoding", encoding, KNOWN) from None


def _strictly(data: bytes, name: str) -> str | None:
    try:
        return data.decode(name)
    except UnicodeDecodeError:
        return None


def _plain_name(hint: str | None) -> str | None:
    """The encoding that a page means; as in browsers, gb2312 means all of GB18030 and latin-1 Windows-1252."""
    if not hint:
        return None
    try:
        name = codecs.lookup(hint).name
    except (LookupError, ValueError):
        return None
    if name in ("gb2312", "gbk", "gb18030"):
        return "gb18030"
    if name in ("iso8859-1", "ascii"):
        return "windows-1252"
    if name == "big5":
        return "big5hkscs"
    return None if name.startswith(("utf-16", "utf-32")) or not _is_text_codec(name) else name


def _is_text_codec(name: str) -> bool:
    try:
        b"".decode(name)
    except LookupError:
        return False
    return True


def _chinese(data: bytes) -> tuple[str, str, list[tuple[int | None, str]]] | None:
    """GB18030 or Big5, whichever gives the more common characters; None if neither gives mostly these.

    Also None if some lines are UTF-8: half of these are lawful GB18030 too, and would be read as other characters.
    """
    found = [(text, name, _common(text, name)) for name in _LEGACY if (text := _strictly(data, name)) is not None]
    text, name, share = max(found, key=lambda each: each[2], default=("", "", 0.0))      # GB18030 if they are equal
    if share < _SANE or any(_is_utf8_han(line) for line in data.split(b"\n")):
        return None
    return text, name.removesuffix("hkscs"), []


def _is_utf8_han(line: bytes) -> bool:
    """Whether a line is UTF-8 with characters of three bytes, which two of GB18030 hardly ever look like."""
    text = None if line.isascii() else _strictly(line, "utf-8")
    return text is not None and max(text) >= "\u0800"


def _common(text: str, encoding: str) -> float:
    """The share of common Han and of signs among the characters that are not ASCII, from a sample of them."""
    first, last, signs = _LEGACY[encoding]
    n_all = n_common = 0
    counts: Counter[str] = Counter()
    for found in _FOREIGN.finditer(text):
        counts.update(found.group()[:_SAMPLE])
        n_all += found.end() - found.start()
        if n_all >= _SAMPLE:
            break
    for char, n in counts.items():
        code = char.encode(encoding, "replace")
        # A trail byte below 0xA1 in the common range is GBK's extension: as rare as a letter after é is frequent.
        if len(code) == 2 and (first <= code[0] <= last or 0xA1 <= code[0] <= signs):
            n_common += n if encoding != "gb18030" or code[1] >= 0xA1 else 0
    return n_common / max(sum(counts.values()), 1)


def _western(data: bytes) -> str:
    """Windows-1252, whose five empty places are Latin-1's control characters."""
    try:
        return data.decode("windows-1252")
    except UnicodeDecodeError:
        return data.decode("windows-1252", "western")


def _empty_place(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error("western", _empty_place)


def _line_by_line(data: bytes) -> tuple[str, str, list[tuple[int | None, str]]] | None:
    """Each line as UTF-8 or GB18030, whichever fits it better; None if neither fits most of what is not ASCII."""
    lines: list[str] = []
    n_foreign = sane = 0.0
    used: Counter[str] = Counter()
    bad: list[tuple[int, str, bool]] = []      # line, encoding, whether something was replaced
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.isascii():
            lines.append(line.decode("ascii"))
            continue
        text, name, quality, whole = _best(line)
        n = len(text) - len(text.encode("ascii", "ignore"))
        n_foreign += n
        sane += n * quality
        used[name] += n
        lines.append(text)
        bad.append((number, name, whole))
    if sane < _SANE * n_foreign:
        return None
    main = used.most_common(1)[0][0] if used else "utf-8"
    odd = [(number, name, whole) for number, name, whole in bad if name != main or not whole]
    if not odd:
        return "\n".join(lines), main, []
    n_replaced = sum(not whole for _, _, whole in odd)
    reason = (
        f"{len(odd):,} lines from this one on are not {main}: {len(odd) - n_replaced:,} were read in another encoding, "
        f"{n_replaced:,} have U+FFFD in place of what fits none."
    )
    return "\n".join(lines), main, [(odd[0][0], reason)]


def _best(line: bytes) -> tuple[str, str, float, bool]:
    """(text, encoding, share of characters that make sense, whether all bytes fit)."""
    utf = _strictly(line, "utf-8")
    if utf is not None:
        return utf, "utf-8", 1.0, True
    utf = line.decode("utf-8", "replace")
    n = len(utf) - len(utf.encode("ascii", "ignore"))
    quality = 1 - utf.count("\ufffd") / max(n, 1)
    gb = line.decode("gb18030", "replace")
    common = _common(gb, "gb18030")
    if common > quality:
        return gb, "gb18030", common, "\ufffd" not in gb
    return utf, "utf-8", quality, False


def _finished(text: str, encoding: str, warnings: list[tuple[int | None, str]]) -> Decoded:
    """With the line ends made one kind and NULs made spaces, both told where they matter."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.startswith("\ufeff"):
        text = text[1:]
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        warnings = [*warnings, (line, f"{text.count(chr(0)):,} NUL characters from this line on became spaces.")]
        text = text.replace("\0", " ")
    return Decoded(text, encoding, tuple(warnings))
