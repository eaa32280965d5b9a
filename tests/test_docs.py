"""The documents are true: tutorials print what they state, references are those of the code, links lead somewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from run_tutorials import (  # noqa: E402
    CHINESE,
    IMAGES,
    TUTORIALS,
    agrees,
    blocks_of,
    chinese,
    pictures,
    run,
    tutorials,
    without_comments,
)
from write_reference import API, CLI, api_reference, cli_reference  # noqa: E402

SLOW = {"4-gte-and-fine-tuning"}      # it trains
FILES = [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in SLOW else [])
         for path in tutorials()]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NEEDED = {"gensim": "classic", "torch": "torch", "matplotlib": "plot"}
_LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]*)?\)")


@pytest.mark.parametrize("path", FILES)
def test_a_tutorial_runs_and_prints_what_it_states(path: Path, data: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for module in re.findall(r"<!-- needs (\w+) -->", text):
        pytest.importorskip(module, reason=f"this tutorial needs {module}: pip install 'qianru[{NEEDED[module]}]'")
    for block, printed in run(path, tmp_path, data):
        if block.output is not None:
            assert agrees(block.output, printed), f"{path.name}:{block.line} prints\n{printed}"
    for name in pictures(path):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG"), f"{name} was not drawn by this tutorial"
        assert (IMAGES / name).exists(), "python tools/run_tutorials.py --write"


@pytest.mark.parametrize("path", tutorials(), ids=lambda path: path.stem)
def test_the_chinese_tutorial_has_the_same_code_and_outputs(path: Path) -> None:
    ours, theirs = (blocks_of(one.read_text(encoding="utf-8")) for one in (path, chinese(path)))
    assert [without_comments(block) for block in ours] == [without_comments(block) for block in theirs]
    assert [block.output for block in ours] == [block.output for block in theirs]
    assert pictures(path) == pictures(chinese(path))


def test_every_tutorial_is_in_both_languages() -> None:
    names = {path.name.removesuffix(CHINESE).removesuffix(".md") for path in TUTORIALS.glob("*.md")}
    assert all((TUTORIALS / f"{name}{end}").exists() for name in names for end in (".md", CHINESE))


def test_the_reference_of_commands_is_what_help_says() -> None:
    assert CLI.read_text(encoding="utf-8") == cli_reference(), "python tools/write_reference.py"


def test_the_reference_of_python_is_what_the_docstrings_say() -> None:
    assert API.read_text(encoding="utf-8") == api_reference(), "python tools/write_reference.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```|^    .*?$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target, _ in _LINK.findall(text):
        if target and "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize(("stated", "printed", "expected"), [
    ("1 甲\n", "1 甲  \n", True),
    ("1 甲 0.…\n", "1 甲 0.93\n", True),
    ("1 甲\n…\n9 壬\n", "1 甲\n2 乙\n3 丙\n9 壬\n", True),
    ("1 甲\n", "1 甲\n2 乙\n", False),
    ("1 乙\n", "1 甲\n", False),
])
def test_an_output_agrees_if_only_what_is_left_open_differs(stated: str, printed: str, expected: bool) -> None:
    assert agrees(stated, printed) == expected
