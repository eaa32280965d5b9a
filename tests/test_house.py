"""The house rules that a machine can check: floors, light import, no pickle, no network."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import qianru

PACKAGE = Path(qianru.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
FLOORS = {
    "errors": 0,
    "types": 1,
    "text": 2,
    "scores": 2,
    "runtime": 3,
    "models": 4,
    "index": 5,
    "train": 5,
    "evaluate": 5,
    "use": 6,
    "serve": 7,
    "compat": 6,
    "cli": 8,
    "__main__": 9,
}
PUBLIC_FACE = "__init__"   # qianru/__init__.py names things of every floor, lazily
HEAVY = {"torch", "numba", "pandas", "pyarrow", "ray", "scipy", "sklearn", "gensim", "matplotlib", "qdrant_edge",
         "qdrant_client", "httpx", "rjieba", "tokenizers", "safetensors", "rich", "typer"}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[int, str]]:
    """(line, module) for each import of a source file, also those inside functions."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, name.name) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} relative imports hide the floor"
            module = node.module or ""
            found += [(node.lineno, f"{module}.{name.name}" if module == "qianru" else module) for name in node.names]
    return found


def test_every_room_has_a_floor() -> None:
    assert {room(path) for path in SOURCES} - {PUBLIC_FACE} <= set(FLOORS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_go_down(path: Path) -> None:
    if room(path) == PUBLIC_FACE:
        return
    for line, module in imports(path):
        if not module.startswith("qianru."):
            continue
        other = module.split(".")[1]
        if other == "__version__" or other == room(path):
            continue
        assert FLOORS[other] < FLOORS[room(path)], f"{path.name}:{line} imports {module} from a higher or equal floor"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_is_pickled(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not {module.split(".")[0] for _, module in imports(path)} & {"pickle", "shelve", "joblib", "dill", "marshal"}
    assert "allow_pickle=True" not in text


def test_importing_qianru_loads_nothing_heavy() -> None:
    """Nothing but the standard library and at most NumPy, so it cannot take much longer than `import numpy`."""
    loaded = loaded_by("import qianru") - loaded_by("pass")
    assert not HEAVY & loaded
    assert loaded - set(sys.stdlib_module_names) <= {"qianru", "numpy"}


def loaded_by(code: str) -> set[str]:
    """The top-level modules of a process that has run the code."""
    code = f"import sys; {code}; print(' '.join({{m.split('.')[0] for m in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_public_names_are_what_they_say() -> None:
    for name in qianru.__all__:
        assert getattr(qianru, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = qianru.nonsense


def test_no_two_test_files_have_one_name() -> None:
    """pytest would refuse the second where both are collected; those in packages have the package's name before it."""
    tests = [path for path in Path(__file__).parent.rglob("test_*.py") if not (path.parent / "__init__.py").exists()]
    names = [path.name for path in tests]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_has_at_most_400_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
