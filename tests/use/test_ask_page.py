"""docs/ask.md is true: its code runs and prints what it states."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "ask.md"
sys.path.insert(0, str(ROOT / "tools"))

run_tutorials = pytest.importorskip("run_tutorials")


def test_the_page_of_asking_runs_and_prints_what_it_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QIANRU_CHAT_URL", raising=False)
    monkeypatch.delenv("QIANRU_COLLECTION", raising=False)
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    for block, printed in run_tutorials.run(PAGE, tmp_path, tmp_path):
        assert printed.strip()
        if block.output is not None:
            assert run_tutorials.agrees(block.output, printed), f"{PAGE.name}:{block.line} prints\n{printed}"
