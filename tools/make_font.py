"""Writes qianru/data/fonts/QianruFallback.ttf: the part of Droid Sans Fallback that Chinese labels need.

    python tools/make_font.py DroidSansFallbackFull.ttf

The source is in Debian's package fonts-droid-fallback (Apache-2.0). Kept: every character of GB 2312 that the font has
(hanzi, kana, punctuation), the Traditional forms of those hanzi, and all full-width forms. Latin letters are not in the
font at all: matplotlib's own DejaVu Sans draws them. Needs fonttools (matplotlib brings it) and opencc.
"""

from __future__ import annotations

import sys
from pathlib import Path

import opencc
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

TARGET = Path(__file__).parents[1] / "qianru" / "data" / "fonts" / "QianruFallback.ttf"
NAME = "Qianru Fallback"      # a changed font must not go by the name of the original, nor meet it in a font list
DROPPED = ["GSUB", "GPOS", "GDEF", "vhea", "vmtx"]   # vertical writing, which matplotlib does not do


def gb2312() -> set[str]:
    """The characters of GB 2312, by decoding every cell of its 94 x 94 square."""
    cells = (bytes([row, column]) for row in range(0xA1, 0xFF) for column in range(0xA1, 0xFF))
    return {char for cell in cells if (char := cell.decode("gb2312", errors="ignore"))}


def traditional(chars: set[str]) -> set[str]:
    """The Traditional forms of the characters, those of Taiwan and Hong Kong as well."""
    converters = [opencc.OpenCC(name) for name in ("s2t", "s2tw", "s2hk")]
    return {form for char in chars for converter in converters for form in converter.convert(char)}


def big5_common() -> set[str]:
    """The 5,401 everyday characters of Big5, which one-to-many simplifications (发: 發 and 髮) would miss."""
    columns = [*range(0x40, 0x7F), *range(0xA1, 0xFF)]
    cells = (bytes([row, column]) for row in range(0xA4, 0xC7) for column in columns)
    return {char for cell in cells if (char := cell.decode("big5", errors="ignore"))}


def main(source: str) -> None:
    chars = gb2312()
    chars |= traditional(chars) | big5_common()
    codes = {ord(char) for char in chars} | set(range(0x3000, 0x3040)) | set(range(0xFF00, 0xFFF0))
    font = TTFont(source, recalcTimestamp=False)     # the same file from the same source
    options = Options(hinting=False, layout_features=[], notdef_outline=True, drop_tables=DROPPED, name_IDs=["*"])
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=codes)
    subsetter.subset(font)
    for record in font["name"].names:
        if record.nameID in (1, 3, 4, 6):
            record.string = NAME.replace(" ", "") if record.nameID == 6 else NAME
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    font.save(TARGET)
    print(f"{TARGET}: {len(font.getBestCmap())} characters, {TARGET.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
