"""Writes docs/cli-reference.md and docs/api.md: what `--help` says, and the docstrings of what users import.

    python tools/write_reference.py

Tests hold both against the code, so run this after changing an option or a docstring. The reference of Python is read
from the sources and not by importing them: bridges to frameworks that are not installed are in it too.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CLI, API = ROOT / "docs" / "cli-reference.md", ROOT / "docs" / "api.md"
MADE = "<!-- made by tools/write_reference.py: do not edit -->\n"
ROOMS: dict[str, list[str]] = {        # what users import, in the order of what one does with it
    "The common names": ["types", "errors"],
    "Models": ["models", "models.base", "models.bm25", "models.lexical", "models.lsa", "models.word2vec",
               "models.word_vector_model", "models.vectors", "models.vector_files", "models.static",
               "models.transformer", "models.cross_encoder", "models.remote", "models.joined", "models.matching",
               "runtime.options", "text.analyze"],
    "Scores": ["scores.similarity", "scores.ranking"],
    "Collections": ["index.collection", "index.readable", "index.plan", "index.filter", "index.layout"],
    "Uses": ["use.ask.knowledge", "use.ask.chat", "use.ask.events", "use.ask.debate", "use.cluster", "use.classify",
             "use.duplicates", "use.recommend", "use.tune", "use.calibrate", "use.plot"],
    "In other tools": ["compat.fields", "compat.langchain", "compat.llama_index", "compat.haystack", "compat.sklearn",
                       "compat.frames", "compat.mteb"],
}


def cli_reference() -> str:
    """Markdown of all commands: usage, what they do, arguments and options, examples."""
    import typer

    from qianru.cli.app import app

    root = typer.main.get_command(app)
    parts = ["# Every command and option\n", MADE,
             "What `qianru COMMAND --help` says. How commands behave together stands in [the command line](cli.md).\n"]
    commands = [("qianru", root), *_commands("qianru", root)]
    parts.append("\n".join(f"- [`{name}`](#{name.replace(' ', '-')})" for name, _ in commands[1:]) + "\n")
    for name, command in commands[1:]:
        parts.append(_told(name, command))
    return "\n".join(parts)


def api_reference() -> str:
    """Markdown of the public classes and functions of ROOMS."""
    parts = ["# Python reference\n", MADE,
             "What one imports, with the docstrings as they stand in the sources. The common names come from `qianru` "
             "itself:\n`from qianru import load, Collection, Document, Embeddings, Hit`.\n"]
    for room, modules in ROOMS.items():
        parts.append(f"## {room}\n")
        parts += [told for module in modules if (told := _module(module))]
    return "\n".join(parts)


def _commands(prefix: str, group: Any) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, command in getattr(group, "commands", {}).items():
        if not command.hidden:
            found += [(f"{prefix} {name}", command), *_commands(f"{prefix} {name}", command)]
    return found


def _told(name: str, command: Any) -> str:
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    lines = [f"## {name}\n", _plain(inspect.cleandoc(command.help or "")) + "\n", f"    {usage}\n"]
    rows = [told for one in command.params if "--help" not in one.opts and (told := one.get_help_record(context))]
    if rows:
        lines += ["| | |", "|---|---|", *(f"| `{_cell(what)}` | {_cell(said)} |" for what, said in rows), ""]
    examples = [_plain(line).strip() for line in (command.epilog or "").splitlines()[1:]]
    if examples:
        lines += ["\n".join(f"    {line}" for line in examples) + "\n"]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(_plain(text).split()).replace("|", "\\|")


def _plain(text: str) -> str:
    """Without rich's marks."""
    return re.sub(r"\[/?(?:dim|bold)\]", "", text)


def _module(name: str) -> str:
    tree = _tree(name)
    public = [node for node in [*_named_in(tree), *tree.body] if isinstance(node, ast.ClassDef | ast.FunctionDef)
              and not node.name.startswith("_") and ast.get_docstring(node)]
    if not public:
        return ""
    lines = [f"### qianru.{name}\n", _first(ast.get_docstring(tree)) + "\n"]
    for node in public:
        if isinstance(node, ast.FunctionDef):
            lines.append(_shown(_signature(node), ast.get_docstring(node)))
            continue
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        lines.append(_shown(f"class {node.name}" + (f"({bases})" if bases else "") + _fields(node),
                            ast.get_docstring(node)))
        lines += [_shown(_signature(method, node.name), ast.get_docstring(method)) for method in node.body
                  if isinstance(method, ast.FunctionDef) and ast.get_docstring(method)
                  and not method.name.startswith("_")]
    return "\n".join(lines)


def _tree(name: str) -> ast.Module:
    path = ROOT / "qianru" / (name.replace(".", "/") + ".py")
    if not path.exists():
        path = ROOT / "qianru" / name.replace(".", "/") / "__init__.py"
    return ast.parse(path.read_text(encoding="utf-8"))


def _named_in(tree: ast.Module) -> list[ast.stmt]:
    """What a package takes from its own modules into its __all__."""
    found: list[ast.stmt] = []
    if not any(isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__" for node in tree.body):
        return found
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qianru."):
            names = {one.name for one in node.names}
            found += [one for one in _tree(str(node.module).removeprefix("qianru.")).body
                      if isinstance(one, ast.ClassDef | ast.FunctionDef) and one.name in names]
    return found


def _signature(node: ast.FunctionDef, owner: str = "") -> str:
    said = {ast.unparse(one) for one in node.decorator_list}
    name = f"{owner}.{node.name}" if owner else node.name
    returned = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    if "property" in said:
        return f"{name}{returned.replace(' ->', ':')}"
    told = ast.unparse(node.args)
    return f"{name}({re.sub(r'^(self|cls)(, )?', '', told)}){returned}"


def _fields(node: ast.ClassDef) -> str:
    """What a dataclass or NamedTuple, or else its __init__, takes."""
    init = next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
    if init is not None:
        return "\n" + _signature(init).replace("__init__", node.name).replace(" -> None", "")
    data = any("dataclass" in ast.unparse(one) for one in node.decorator_list) or any(
        ast.unparse(base) == "NamedTuple" for base in node.bases)
    told = [ast.unparse(one) for one in node.body if isinstance(one, ast.AnnAssign) and not ast.unparse(
        one.target).startswith("_")]
    return f"\n{node.name}({', '.join(told)})" if data and told else ""


def _shown(signature: str, docstring: str | None) -> str:
    said = inspect.cleandoc(docstring or "")
    return f"```python\n{signature}\n```\n\n```text\n{said}\n```\n"


def _first(docstring: str | None) -> str:
    return (docstring or "").split("\n\n")[0].replace("\n", " ")


if __name__ == "__main__":
    CLI.write_text(cli_reference(), encoding="utf-8")
    API.write_text(api_reference(), encoding="utf-8")
    print(f"{CLI.relative_to(ROOT)}, {API.relative_to(ROOT)}", file=sys.stderr)
