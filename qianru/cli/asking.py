"""qianru ask: questions in, answers with citations out."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qianru.cli.answers import print_piece, show_debate, show_sources
from qianru.cli.documents import opened
from qianru.cli.layout import one_line
from qianru.cli.options import AsJson, Where, examples, note_unknown_fields
from qianru.cli.searching import file_line, questions
from qianru.cli.terminal import note, show, show_json, stdout
from qianru.errors import BadFile, BadInput

if TYPE_CHECKING:
    from qianru.use.ask.chat import Chat
    from qianru.use.ask.conversation import Conversation
    from qianru.use.ask.events import Answer
    from qianru.use.ask.knowledge import KnowledgeBase


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog=examples(
        'qianru ask notes "怎样申请退款"',
        'qianru ask "Do I need a GPU?"    [dim]# of the collection here[/dim]',
        "qianru ask notes    [dim]# questions until an empty line[/dim]",
        'qianru ask notes "怎样申请退款" --chat-url http://localhost:11434/v1 --chat-model qwen3',
        'qianru ask notes --debate "应该延长退货期限"',
    ))(ask)


def ask(
    place: Annotated[
        str | None, typer.Argument(metavar="FOLDER|COLLECTION", help="Documents, which are indexed first, or a "
                                   "collection; else the collection here.", show_default=False)
    ] = None,
    question: Annotated[
        str | None, typer.Argument(metavar="QUESTION", help="None: questions are read until an empty line.",
                                   show_default=False)
    ] = None,
    chat_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Endpoint of a chat model, up to /chat/completions; else "
                                 "$QIANRU_CHAT_URL.", show_default=False)
    ] = None,
    chat_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name there; else $QIANRU_CHAT_MODEL.", show_default=False)
    ] = None,
    chat_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What holds its key; else $QIANRU_CHAT_KEY does.",
                                  show_default=False)
    ] = None,
    no_chat: Annotated[bool, typer.Option("--no-chat", help="Answer with sentences of the documents.")] = False,
    debate: Annotated[bool, typer.Option("--debate", help="What speaks for and against a motion.")] = False,
    budget: Annotated[int, typer.Option(min=1, help="Tokens of passages put before the model.")] = 1000,
    tokenizer: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The chat model's tokenizer.json, to count them by; else an "
                                  "estimate.", show_default=False)
    ] = None,
    language: Annotated[str, typer.Option(metavar="auto|zh|en", help="Of the prompts.")] = "auto",
    prompts: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Prompts of your own.", show_default=False)
    ] = None,
    copy_prompts: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write ours there, to be changed, and stop.",
                                  show_default=False)
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the conversation in a JSON file, and go on with what is "
                                  "in it.", show_default=False)
    ] = None,
    where: Where = None,
    passages: Annotated[bool, typer.Option("--passages", help="Also show all that the answer was made from.")] = False,
    as_json: AsJson = False,
) -> None:
    """Answer a question from documents, with citations [1] that say file and line.

    A chat model writes the answer if one is named: question and passages are sent to it, and citations that it invents
    are marked. Without one, the answer is the sentences that fit best.
    """
    from qianru.use.ask.knowledge import KnowledgeBase
    from qianru.use.ask.tokens import token_counter

    if copy_prompts is not None:
        return _copy(copy_prompts, as_json)
    if debate and (save is not None or passages):
        raise BadInput("A debate is no conversation and shows all its passages: leave out --save and --passages.")
    if question is None and place is not None and not _is_place(place):
        place, question = None, place
    chat = None if no_chat else _chat(chat_url, chat_model, chat_key_file)
    with opened(place) as library:
        base = KnowledgeBase(library, chat, budget=budget, language=language,  # type: ignore[arg-type]   # it checks
                             prompts=prompts, where=where, count=token_counter(tokenizer))
        asked = [question] if question is not None else questions()
        if debate:
            _debate(base, asked, library.path.parent, as_json)
        else:
            _converse(base, asked, save, as_json, passages)
    return None


def _is_place(given: str) -> bool:
    from qianru.index.address import address_of

    try:
        return address_of(given) is not None or Path(given).exists()
    except OSError:          # a question may be too long for a name
        return False


def _chat(url: str | None, model: str | None, key_file: Path | None) -> Chat | None:
    from qianru.use.ask.chat import Chat

    key = None
    if key_file is not None:
        try:
            key = key_file.read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError) as error:
            raise BadFile(f"The key cannot be read from {key_file}: {type(error).__name__}.") from None
    chat = Chat.from_environment(url, model, key)
    if chat is None and (model or key_file):
        raise BadInput("A chat model needs an address as well: --chat-url, or $QIANRU_CHAT_URL.")
    return chat


def _copy(folder: Path, as_json: bool) -> None:
    from qianru.use.ask.prompts import copy_prompts

    written = copy_prompts(folder)
    if as_json:
        show_json({"prompts": [str(path) for path in written]})
    else:
        show("\n".join(map(str, written)))
        note(f"Change them, and use them: qianru ask … --prompts {folder}")


def _converse(
    base: KnowledgeBase, asked: Iterable[str], save: Path | None, as_json: bool, passages: bool
) -> None:
    from qianru.use.ask.conversation import Conversation

    conversation = Conversation.open(save)
    for question in asked:
        answer = _answered(base, question, conversation, quiet=as_json)
        conversation.add(question, answer)
        root = base.collection.path.parent
        if as_json:
            told = [asdict(one) | {"place": file_line(one.source, one.line, root)} for one in answer.passages]
            show_json({"question": question, **asdict(answer), "passages": told})
        else:
            show_sources(answer, root, passages)
        if not answer.passages:
            note_unknown_fields(base.collection, base.where)


def _answered(base: KnowledgeBase, question: str, conversation: Conversation, quiet: bool) -> Answer:
    """The answer, printed as it comes."""
    from qianru.use.ask.events import Answer, Done, Passages, Text

    console = stdout()
    told, found, done = "", Passages((), question), Done((), True, False)
    with closing(base.stream(question, conversation.history)) as events:      # Ctrl-C hangs up
        for event in events:
            if isinstance(event, Passages):
                found = event
                if found.query != question and not quiet:
                    note(f"Looking for: {one_line(found.query)}")
            elif isinstance(event, Text):
                told += event.text
                if not quiet:
                    print_piece(console, event.text, found.passages, base.collection.path.parent)
            else:
                done = event
    if not quiet and not told.endswith("\n"):
        console.print()
    return Answer(told, done.citations, found.passages, done.extractive, done.answered, found.query)


def _debate(base: KnowledgeBase, motions: Iterable[str], root: Path, as_json: bool) -> None:
    from qianru.use.ask.debate import debate

    for motion in motions:
        told = debate(base, motion)
        if not told.support and not told.oppose:
            note_unknown_fields(base.collection, base.where)
        if as_json:
            show_json(asdict(told))
            continue
        show_debate(told, root)
        if told.by == "words" and (told.support or told.oppose):
            note("Sorted by words that sound of support or opposition, without understanding: read before you believe. "
                 "A chat model judges better (--chat-url).")
        elif told.by == "words":
            note("No sentence about it has words that sound of support or opposition. A chat model would understand "
                 "more (--chat-url).")
