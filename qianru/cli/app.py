"""All commands under one name, and the one place where an error becomes a line on stderr and an exit code."""

from __future__ import annotations

import inspect
import os
import sys
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from qianru.cli import (
    asking,
    caring,
    classifying,
    clustering,
    comparing,
    deduplicating,
    embedding,
    evaluating,
    fetching,
    fitting,
    indexing,
    judging,
    loading,
    looking,
    pushing,
    recommending,
    reranking,
    searching,
    serving,
    training,
    tuning,
)
from qianru.cli.options import examples
from qianru.cli.terminal import note, prepare_streams, show_warnings
from qianru.errors import QianruError

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="qianru",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "qianru index notes",
        'qianru search "怎样申请退款"',
        'qianru similarity "我喜欢吃肉" "我爱吃蔬菜"',
        'qianru similar hotels.csv --text desc --item "Hilton Seattle Airport"',
    ),
)
for room in (indexing, searching, asking, comparing, recommending, reranking, embedding, fitting, training,
             evaluating, judging, fetching, looking, tuning, clustering, deduplicating, classifying, caring, pushing,
             serving, loading):      # as the help page has them
    room.register(app)


def _let_flow(typed: typer.Typer) -> None:
    """Makes one line of each paragraph of help pages: rich would keep the sources' line ends in narrower terminals."""
    for command in typed.registered_commands:
        paragraphs = (inspect.getdoc(command.callback) or "").split("\n\n")
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    for group in typed.registered_groups:
        if group.typer_instance is not None:
            _let_flow(group.typer_instance)


def _print_version(wanted: bool) -> None:
    if wanted:
        import qianru

        print(f"qianru {qianru.__version__}")
        raise typer.Exit


_let_flow(app)


@app.callback()
def _qianru(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Qianru 嵌入: search, compare and recommend Chinese and English texts, offline."""


def run(arguments: list[str]) -> int:
    """Runs one command line; returns its exit code: 0 done, 1 failed, 2 wrong use, 130 stopped by Ctrl-C."""
    prepare_streams()
    show_warnings()
    try:
        code = app(arguments, prog_name="qianru", standalone_mode=False)
        sys.stdout.flush()
        return code or 0
    except QianruError as error:
        note(f"error: {error}")
        return FAILED
    except TyperException as error:
        from typer.rich_utils import rich_format_error

        rich_format_error(error)  # type: ignore[arg-type]   # its own class for these is private
        return WRONG_USE
    except (KeyboardInterrupt, Abort):
        return INTERRUPTED
    except SystemError as error:               # how Ctrl-C inside of compiled code comes out
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):      # rich and typer turn the first into the second
        # The reader (head, less) has gone and wants no more; what is still buffered must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
