"""Runs the code of docs/tutorials: every ```python and ```bash block, in order, and what they print is compared.

    python tools/run_tutorials.py                       # runs all, tells where an output is not what is stated
    python tools/run_tutorials.py --write 1-similarity  # writes the outputs into both languages, and keeps the pictures

A ```text block right after a block of code is what it prints, to stdout; … in it stands for anything. A block after a
line <!-- not run: why --> is not run. Blocks of one file share their names and a folder, in which `data` is
the folder of real data, and `tiny-bge-m3` and `tiny-gte` are models of the real layouts with weights drawn at random.
The Chinese file beside the English one has the same code and outputs; only comments and prose differ.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).parents[1]
TUTORIALS = ROOT / "docs" / "tutorials"
IMAGES = TUTORIALS / "images"
CHINESE = ".zh-CN.md"
_FENCE = re.compile(r"^```(\w*)[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->\s*\Z")
_ONLY_QIANRU = re.compile(r"qianru [^|&;<>$`*?~{}()]*")       # nothing in it that is the shell's to do
_PICTURE = re.compile(r"!\[[^\]]*\]\(images/([^)]+)\)")


@dataclass(frozen=True)
class Block:
    """A piece of code; output: what it is said to print, None where nothing is said; span: where that stands."""

    language: str
    code: str
    line: int
    output: str | None
    span: tuple[int, int] | None


def tutorials() -> list[Path]:
    """The English files."""
    return sorted(path for path in TUTORIALS.glob("*.md") if not path.name.endswith(CHINESE) and path.stem != "README")


def chinese(path: Path) -> Path:
    """The Chinese file beside it."""
    return path.with_name(path.stem + CHINESE)


def pictures(path: Path) -> list[str]:
    """The names of the pictures that the file shows."""
    return _PICTURE.findall(path.read_text(encoding="utf-8"))


def blocks_of(text: str) -> list[Block]:
    """The blocks of code that are to be run."""
    found: list[Block] = []
    fences = list(_FENCE.finditer(text))
    for number, fence in enumerate(fences):
        if fence[1] not in ("python", "bash") or _NOT_RUN.search(text[: fence.start()]):
            continue
        said = fences[number + 1] if number + 1 < len(fences) else None
        if said is not None and (said[1] != "text" or text[fence.end() : said.start()].strip()):
            said = None
        line = text.count("\n", 0, fence.start()) + 1
        found.append(Block(fence[1], fence[2], line, None if said is None else said[2],
                           None if said is None else said.span(2)))
    return found


def run(path: Path, folder: Path, data: Path) -> Iterator[tuple[Block, str]]:
    """Each block of the file with what it printed, run in the folder. What a block raises is raised."""
    furnish(folder, path.read_text(encoding="utf-8"), data)
    names: dict[str, Any] = {"__name__": "tutorial"}
    with chdir(folder):
        for block in blocks_of(path.read_text(encoding="utf-8")):
            if block.language == "bash":
                yield block, _shell(block.code)
                continue
            printed = StringIO()
            padded = "\n" * block.line + block.code        # so that a traceback names the file's own line
            with redirect_stdout(printed):
                exec(compile(padded, str(path), "exec"), names)
            yield block, printed.getvalue()


def furnish(folder: Path, text: str, data: Path) -> None:
    """Puts into the folder what the tutorial names: the data, models of random weights."""
    (folder / "data").symlink_to(data.resolve())
    for name, layout in (("tiny-bge-m3", "bge-m3"), ("tiny-gte", "gte")):
        if name in text:
            sys.path.insert(0, str(ROOT / "tests" / "models"))
            from checkpoints import build

            build(layout, folder / name, data)


def agrees(stated: str, printed: str) -> bool:
    """Whether what was printed is what is stated, blanks at the ends of lines aside.

    >>> agrees("1 甲 0.9…\\n…\\n", "1 甲 0.91\\n2 乙\\n3 丙\\n")
    True
    """
    pattern = ".*?".join(map(re.escape, _tidy(stated).split("…")))
    return re.fullmatch(pattern, _tidy(printed), re.DOTALL) is not None


def without_comments(block: Block) -> list[str]:
    """The code's lines without what a translation may change: comments, and empty lines."""
    lines = [re.sub(r"(^|\s)#\s.*$", "", line).rstrip() for line in block.code.splitlines()]
    return [line for line in lines if line]


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


def _shell(code: str) -> str:
    """What the block prints. A line that is only a command of Qianru runs here, where the libraries are loaded."""
    if re.search(r"\\\n|<<|^(\s|export |cd |for |while |if )", code, re.MULTILINE):      # lines that need one another
        return _bash(code)
    lines = [line for line in code.splitlines() if line.strip()]
    return "".join(_command(line) if _ONLY_QIANRU.fullmatch(line) else _bash(line) for line in lines)


def _command(line: str) -> str:
    from qianru.cli.app import run as run_command

    stream = TextIOWrapper(BytesIO(), encoding="utf-8")        # as a pipe is: with an encoding and a buffer
    with redirect_stdout(stream):
        status = run_command(shlex.split(line, comments=True)[1:])
    stream.flush()
    printed = cast(BytesIO, stream.buffer).getvalue().decode("utf-8")
    if status:
        raise RuntimeError(f"Exit code {status} of:\n{line}\n{printed}")
    return printed


def _bash(code: str) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", code], capture_output=True, text=True, encoding="utf-8",
                          env={**os.environ, "PATH": path, "NO_COLOR": "1"})
    if done.returncode:
        raise RuntimeError(f"Exit code {done.returncode} of:\n{code}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def _write(path: Path, outputs: list[str]) -> None:
    """Puts the outputs in place of those that do not agree, and what then stands there into the Chinese file."""
    text = path.read_text(encoding="utf-8")
    wanted = [block.output if block.output is None or agrees(block.output, printed) else _tidy(printed) + "\n"
              for block, printed in zip(blocks_of(text), outputs, strict=True)]
    for one in (path, chinese(path)):
        if one.exists():
            text = one.read_text(encoding="utf-8")
            for block, said in reversed(list(zip(blocks_of(text), wanted, strict=True))):
                if block.span is not None and said is not None:
                    text = text[: block.span[0]] + said + text[block.span[1] :]
            one.write_text(text, encoding="utf-8")


def main() -> int:
    """Runs the tutorials that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="of files, without .md")
    parser.add_argument("--write", action="store_true", help="write the outputs into the files and keep the pictures")
    given = parser.parse_args()
    data = Path(os.environ.get("QIANRU_DATA", ROOT.parent / "shared" / "data"))
    wrong = 0
    for path in tutorials():
        if given.names and path.stem not in given.names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            outputs: list[str] = []
            for block, printed in run(path, Path(folder), data):
                outputs.append(printed)
                if block.output is not None and not agrees(block.output, printed) and not given.write:
                    wrong += 1
                    print(f"{path.name}:{block.line} prints\n{printed}instead of\n{block.output}")
            if given.write:
                IMAGES.mkdir(exist_ok=True)
                for name in pictures(path):
                    shutil.copyfile(Path(folder) / name, IMAGES / name)
                _write(path, outputs)
        print(f"{path.name}: {len(outputs)} blocks")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
