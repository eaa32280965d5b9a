"""docs/uses.md is true: its code runs and prints what it states."""

from __future__ import annotations

import csv
import gzip
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "uses.md"
sys.path.insert(0, str(ROOT / "tools"))

run_tutorials = pytest.importorskip("run_tutorials")


def test_the_page_of_uses_runs_and_prints_what_it_states(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    with gzip.open(data / "classification/waimai_10k.csv.gz", "rt", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))[::19]
    rows = [rows[i * 7919 % len(rows)] for i in range(len(rows))]        # good and bad ones mixed
    with (tmp_path / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["label", "review"])
        table.writeheader()
        table.writerows(rows)
    for block, printed in run_tutorials.run(PAGE, tmp_path, data):
        if block.output is not None:
            assert run_tutorials.agrees(block.output, printed), f"{PAGE.name}:{block.line} prints\n{printed}"
    for name in ("map.html", "clusters.csv", "mood.html", "labelled.csv", "kept.csv", "groups.jsonl", "groups.html",
                 "hilton.html"):
        assert (tmp_path / name).stat().st_size > 100
