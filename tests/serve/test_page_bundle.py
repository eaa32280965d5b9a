"""The page as it is shipped: made of the sources that are there, in two languages that say the same, and small."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

import qianru

BUILT = Path(qianru.__file__).parent / "serve" / "page"
SOURCES = Path(__file__).parents[2] / "page"
NAMED = ("build.mjs", "package.json", "package-lock.json", "tsconfig.json")


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def strings(language: str) -> dict[str, str]:
    told: dict[str, str] = json.loads((SOURCES / "src" / "strings" / f"{language}.json").read_text("utf-8"))
    return told


def test_the_bundle_was_built_from_the_sources_that_are_here() -> None:
    files = [*(SOURCES / name for name in NAMED), *(path for path in (SOURCES / "src").rglob("*") if path.is_file())]
    lines = sorted(f"{path.relative_to(SOURCES).as_posix()} {digest(path)}\n".encode() for path in files)
    made_of = json.loads((BUILT / "manifest.json").read_text())["sources"]
    assert made_of == sha256(b"".join(lines)).hexdigest(), "the page's sources have changed: make page"


def test_every_file_of_the_bundle_is_as_it_was_built() -> None:
    files = json.loads((BUILT / "manifest.json").read_text())["files"]
    there = {path.relative_to(BUILT).as_posix() for path in BUILT.rglob("*") if path.is_file()} - {"manifest.json"}
    assert there == set(files)
    assert {name: digest(BUILT / name) for name in files} == files


def test_both_languages_say_the_same_things() -> None:
    zh, en = strings("zh"), strings("en")
    assert list(zh) == list(en)
    for key in zh:
        assert zh[key].strip() == zh[key] != "", key
        # what is filled in is the same; that a language needs no plural is its own affair
        assert set(re.findall(r"{(\w+)", zh[key])) <= set(re.findall(r"{(\w+)", en[key])), key


def test_every_string_is_used() -> None:
    told = "".join(path.read_text("utf-8") for path in (SOURCES / "src").rglob("*") if path.suffix in (".ts", ".html"))
    made = ("kind.", "theme.", "nav.", "metric.of.")        # keys that are put together
    assert [key for key in strings("en") if f'"{key}"' not in told and not key.startswith(made)] == []


def test_the_index_names_no_script_or_style_but_its_own_files() -> None:
    """The policy lets nothing else run; here it is said before a browser would."""
    index = (BUILT / "index.html").read_text("utf-8")
    named = re.findall(r'(?:src|href)="(?!#)([^"]+)"', index)
    assert [name for name in named if not name.startswith(("assets/", "data:image/svg+xml,"))] == []
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|javascript:", index)


def test_everything_together_is_well_below_300_kilobytes() -> None:
    assert sum(len(gzip.compress(path.read_bytes(), 9)) for path in BUILT.rglob("*") if path.is_file()) < 100_000


@pytest.mark.slow
@pytest.mark.skipif(not (SOURCES / "node_modules").is_dir() or shutil.which("node") is None,
                    reason="needs Node and its packages: npm ci in page/")
def test_building_again_gives_the_same_bytes(tmp_path: Path) -> None:
    out = tmp_path / "page"
    subprocess.run(["node", "build.mjs"], cwd=SOURCES, env={**os.environ, "QIANRU_PAGE_OUT": str(out)}, check=True)
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} == {
        path.relative_to(BUILT): path.read_bytes() for path in BUILT.rglob("*") if path.is_file()}
