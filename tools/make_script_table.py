"""Writes qianru/data/simplified.txt: every Traditional character that OpenCC turns into one other character.

    python tools/make_script_table.py            # needs: pip install opencc
"""

from __future__ import annotations

import sys
import unicodedata
from importlib.metadata import version
from pathlib import Path

from opencc import OpenCC

TARGET = Path(__file__).parent.parent / "qianru" / "data" / "simplified.txt"
HEADER = """\
# Traditional character, Simplified character; one pair a line, by code point.
# Made by tools/make_script_table.py from OpenCC {version} (t2s), Apache-2.0, https://github.com/BYVoid/OpenCC
"""


def pairs() -> list[tuple[str, str]]:
    """(traditional, simplified) for the single characters that change; phrases need more than a table."""
    convert = OpenCC("t2s").convert
    letters = (chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Lo")
    changed = ((letter, convert(letter)) for letter in letters)
    return [(old, new) for old, new in changed if old != new and len(new) == 1]


def main() -> None:
    """Writes the table and says how long it is."""
    found = pairs()
    lines = "".join(f"{old} {new}\n" for old, new in found)
    TARGET.write_text(HEADER.format(version=version("opencc")) + lines, encoding="utf-8")
    print(f"{len(found)} characters -> {TARGET}")


if __name__ == "__main__":
    main()
