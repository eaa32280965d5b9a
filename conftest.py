"""Doctests of modules whose optional dependency is not installed are left out."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
OPTIONAL = ("torch", "numba")


def needed(path: Path, seen: frozenset[Path] = frozenset()) -> set[str]:
    """Which optional packages importing a module of ours imports, itself or through others of ours."""
    found: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            other = (HERE / name.replace(".", "/")).with_suffix(".py")
            if name.partition(".")[0] in OPTIONAL:
                found.add(name.partition(".")[0])
            elif name.startswith("qianru.") and other.is_file() and other not in seen:
                found |= needed(other, seen | {path})
    return found


MISSING = {name for name in OPTIONAL if find_spec(name) is None}
collect_ignore = [str(path) for path in HERE.glob("qianru/**/*.py") if MISSING and needed(path) & MISSING]
collect_ignore_glob = ["tests/*/conftest.py"]      # they hold no doctests, and all have the same name
