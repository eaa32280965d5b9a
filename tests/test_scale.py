"""docs/scale.md holds what bench/scale.py prints, and the script computes what the document says."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "scale.md"


@pytest.fixture(scope="module")
def scale() -> ModuleType:
    """bench/scale.py."""
    spec = importlib.util.spec_from_file_location("scale", ROOT / "bench" / "scale.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scale"] = module      # which dataclasses look into
    spec.loader.exec_module(module)
    return module


def test_the_documents_tables_are_the_scripts(scale: ModuleType) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    made = scale.tables(scale.read_rates(ROOT / "bench" / "rates.json"), scale.Assumptions())
    for name, table in made.items():
        assert f"<!-- {name} -->\n\n{table}\n\n" in text, f"put the table of bench/scale.py --write there: {name}"
    printed = subprocess.run([sys.executable, "bench/scale.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout == "\n\n".join(made.values()) + "\n"


def test_the_figures_follow_from_the_formulae_by_hand(scale: ModuleType) -> None:
    rates = {f"{shape}_{precision}_tokens_per_core_s": 1000.0
             for shape in ("small", "base", "large") for precision in ("bfloat16", "int8")}
    rates |= {"bm25_documents_per_core_s": 1e4, "terms_per_character": 0.5, "hnsw_measured_dim": 512,
              "hnsw_measured_at": 1000, "hnsw_build_vectors_per_core_s": 1000, "hnsw_query_core_s": 0.001}
    known = scale.Assumptions(documents=1e6, tokens=36, characters=100, bytes_per_character=3, id_bytes=92, cores=10,
                              memory_gb=1.0, disk_tb=1, price_per_hour=2, busy=1, filled=1, days=1, replicas=3,
                              far_memory=2)
    small = scale.embedding(rates, known)[0]
    # 36 million tokens at 1,000 a second: 10 hours of a core, so one machine, 2 for its hour; 4 x 512 + 100 bytes each
    assert small[2:] == ["1,000", "10", "1", "2", "0.0 TB"]
    int8 = scale.searching(rates, known)[1]
    # 512 + 128 + 8 bytes: 0.65 GB, one shard. 10^6 against 10^3 takes twice as long, and twice for far_memory.
    assert int8[:5] == ["512", "int8", "0.00 TB", "0.0 TB", "3"]
    assert int8[5:] == [f"{3 * 2 * 730:,}", "0.1", f"{3 * 10 / 0.004:,.0f}"]


def test_a_name_that_is_none_is_told() -> None:
    def run(change: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "bench/scale.py", "--set", change]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    wrong = run("prise=1")
    assert wrong.returncode == 1
    assert "There is no rate or assumption 'prise'." in wrong.stderr
    changed = run("documents=1e6")
    assert "| documents | 1,000,000 |" in changed.stdout
