"""`make run` with folders whose names would mean something to a shell."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from qianru.cli.documents import MODELS, PLAN

ROOT = Path(__file__).parents[1]


def collection(docs: str) -> str:
    """The collection that `make run DOCS=…` would use; make itself reads $ in its arguments."""
    done = subprocess.run(["make", "-s", "next", "DOCS=" + docs.replace("$", "$$")], cwd=ROOT, capture_output=True,
                          text=True, check=True)
    assert done.stderr == ""
    found = re.search(r"-c (\.qianru-\d+)$", done.stdout, re.MULTILINE)
    assert found is not None, done.stdout
    return found[1]


@pytest.mark.parametrize("docs", ["it's", 'a "b" c', "x; touch made-by-make", "$(touch made-by-make)", "-x", "笔记 本"])
def test_any_name_of_a_folder_is_taken_as_it_is(docs: str) -> None:
    assert collection(docs) != collection("samples")
    assert not (ROOT / "made-by-make").exists()


def test_no_name_means_the_samples() -> None:
    assert collection("") == collection("samples") == collection(str(ROOT / "samples")) == collection("./samples/")


def test_its_collection_is_made_as_ask_makes_it() -> None:
    models = " ".join(f"--model {name}" for name in MODELS)
    assert f"index {models} --plan {PLAN} --collection" in (ROOT / "Makefile").read_text(encoding="utf-8")
