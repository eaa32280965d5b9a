"""qianru fit: models that learn from your own texts; qianru words: what a model knows of words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qianru.cli.cutting import (
    Chars,
    FoldScript,
    Ngrams,
    StopWords,
    UserWords,
    made_analyzer,
    own_words,
    search_model,
)
from qianru.cli.layout import one_line
from qianru.cli.options import AsJson, Encoding, examples
from qianru.cli.reading import passages_of
from qianru.cli.terminal import note, progress, show, show_json
from qianru.errors import BadInput

if TYPE_CHECKING:
    from qianru.models.base import Fittable
    from qianru.models.vectors import WordVectors

Files = Annotated[list[Path], typer.Argument(metavar="FOLDER|FILE", help="Texts to learn from.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the model is saved.")]
Columns = Annotated[
    str | None, typer.Option("--text-columns", metavar="A,B", help="Columns of tables that hold the text.")
]
Least = Annotated[str, typer.Option(metavar="N|SHARE", help="Terms in fewer texts are left out: 2, or 0.01.")]
Most = Annotated[str, typer.Option(metavar="N|SHARE", help="Terms in more texts are left out.")]
Seed = Annotated[int, typer.Option(help="For results that can be repeated.")]

fit = typer.Typer(
    name="fit", no_args_is_help=True, rich_markup_mode="rich", help="Learn a model from your own texts and save it.",
    epilog=examples(
        "qianru fit tfidf notes -o notes-tfidf --ngrams 1-3 --min-df 0.01",
        "qianru fit word2vec novel.txt -o novel-vectors --dim 128",
    ),
)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(fit)
    app.command(epilog=examples(
        "qianru words xiyouji 孙悟空",
        "qianru words xiyouji 唐僧 徒弟 --minus 师父      [dim]# an analogy[/dim]",
        "qianru words xiyouji 行者 八戒 沙僧 山 --odd",
    ))(words)


@fit.command(epilog=examples("qianru fit counts notes -o notes-counts --char --ngrams 3"))
def counts(
    files: Files, output: Output, ngrams: Ngrams = "1", char: Chars = False,
    user_words: UserWords = None, stop_words: StopWords = "", fold_script: FoldScript = False,
    min_df: Least = "1", max_df: Most = "1.0",
    binary: Annotated[bool, typer.Option("--binary", help="Whether a text has a word, not how often.")] = False,
    text_columns: Columns = None, encoding: Encoding = None, as_json: AsJson = False,
) -> None:
    """How often each word stands in a text."""
    from qianru.models.lexical import Counts

    words = own_words(user_words, stop_words)
    analyzer = made_analyzer(ngrams, words, char=char, fold_script=fold_script)
    model = Counts(analyzer, binary=binary, min_df=share(min_df), max_df=share(max_df))
    fit_and_save(model, files, output, text_columns, encoding, as_json)


@fit.command(epilog=examples("qianru fit tfidf notes -o notes-tfidf --ngrams 1-2 --stop-words zh"))
def tfidf(
    files: Files, output: Output, ngrams: Ngrams = "1", char: Chars = False,
    user_words: UserWords = None, stop_words: StopWords = "", fold_script: FoldScript = False,
    min_df: Least = "1", max_df: Most = "1.0",
    sublinear: Annotated[bool, typer.Option("--sublinear", help="Count a word's tenth time less: 1 + ln n.")] = False,
    text_columns: Columns = None, encoding: Encoding = None, as_json: AsJson = False,
) -> None:
    """Counts weighted by how rare each word is."""
    from qianru.models.lexical import TfIdf

    words = own_words(user_words, stop_words)
    analyzer = made_analyzer(ngrams, words, char=char, fold_script=fold_script)
    model = TfIdf(analyzer, min_df=share(min_df), max_df=share(max_df), sublinear_tf=sublinear)
    fit_and_save(model, files, output, text_columns, encoding, as_json)


@fit.command(epilog=examples(
    "qianru fit bm25 notes -o notes-bm25 --variant bm25+ --user-words products.txt",
    "qianru index notes --model notes-bm25",
))
def bm25(
    files: Files, output: Output,
    variant: Annotated[str, typer.Option(help="lucene, robertson or bm25+.")] = "lucene",
    k1: Annotated[float, typer.Option(help="How soon more of the same word adds nothing.")] = 1.5,
    b: Annotated[float, typer.Option(help="How much long texts are held back, 0 to 1.")] = 0.75,
    user_words: UserWords = None, stop_words: StopWords = "",
    text_columns: Columns = None, encoding: Encoding = None, as_json: AsJson = False,
) -> None:
    """The ranking of full-text search, over words cut as collections cut them."""
    model = search_model(own_words(user_words, stop_words), variant, k1, b)
    fit_and_save(model, files, output, text_columns, encoding, as_json)


@fit.command(epilog=examples("qianru fit lsa notes -o notes-lsa --dim 100"))
def lsa(
    files: Files, output: Output,
    dim: Annotated[int, typer.Option(min=1, help="Numbers in a vector.")] = 256,
    ngrams: Ngrams = "1", user_words: UserWords = None, stop_words: StopWords = "", fold_script: FoldScript = False,
    min_df: Least = "1", max_df: Most = "1.0",
    seed: Seed = 0, text_columns: Columns = None, encoding: Encoding = None, as_json: AsJson = False,
) -> None:
    """Dense vectors from which words occur together; needs the classic extra."""
    from qianru.models.lsa import LSA

    analyzer = made_analyzer(ngrams, own_words(user_words, stop_words), fold_script=fold_script)
    model = LSA(dim, analyzer, min_df=share(min_df), max_df=share(max_df), seed=seed)
    fit_and_save(model, files, output, text_columns, encoding, as_json)


@fit.command(epilog=examples(
    "qianru fit word2vec 西游记.txt -o xiyouji --dim 128", "qianru words xiyouji 孙悟空",
))
def word2vec(
    files: Files, output: Output,
    dim: Annotated[int, typer.Option(min=1, help="Numbers in a vector.")] = 128,
    window: Annotated[int, typer.Option(min=1, help="Words to each side that are context.")] = 10,
    min_count: Annotated[int, typer.Option(min=1, help="Rarer words get no vector.")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the texts.")] = 20,
    cbow: Annotated[bool, typer.Option("--cbow", help="Learn by CBOW: faster than skip-gram, and coarser.")] = False,
    pooling: Annotated[
        str, typer.Option(metavar="sif|mean", help="Vectors of texts: frequent words held back (sif), or all alike.")
    ] = "sif",
    user_words: UserWords = None, stop_words: StopWords = "", fold_script: FoldScript = False,
    seed: Seed = 1,
    workers: Annotated[int, typer.Option(min=1, help="Threads; only one gives the same vectors again.")] = 1,
    text_columns: Columns = None, encoding: Encoding = None, as_json: AsJson = False,
) -> None:
    """Dense vectors of words, from their neighbours; needs the classic extra."""
    from qianru.models.pooling import Pooling
    from qianru.models.word2vec import Word2Vec

    analyzer = made_analyzer("1", own_words(user_words, stop_words), fold_script=fold_script)
    model = Word2Vec(
        dim, analyzer, Pooling(pooling), window=window, min_count=min_count,  # type: ignore[arg-type]   # checked there
        epochs=epochs, sg=not cbow, seed=seed, workers=workers,
    )
    fit_and_save(model, files, output, text_columns, encoding, as_json)
    if not as_json:
        for word in model.vectors.words[:200]:
            if len(word) > 1:      # single characters are mostly function words
                near = " ".join(other for other, _ in model.vectors.most_similar([word], k=6))
                note(f"{word}: {near}")
                break


def words(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A fitted model's folder, a word2vec file, or a .npz of vectors.")
    ],
    words: Annotated[list[str], typer.Argument(metavar="WORD", help="Words whose neighbours are wanted.")],
    minus: Annotated[
        list[str] | None, typer.Option("--minus", metavar="WORD", help="A word to take away; may be repeated.",
                                       show_default=False)
    ] = None,
    odd: Annotated[bool, typer.Option("--odd", help="Which of the words does not belong to the others?")] = False,
    k: Annotated[int, typer.Option("-k", min=1, help="How many neighbours.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Ask word vectors: neighbours, analogies, the odd one out."""
    vectors = word_vectors(model)
    if odd:
        word = vectors.doesnt_match(words)
        if as_json:
            show_json({"words": words, "odd": word})
        else:
            show(one_line(word))
        return
    near = vectors.most_similar(words, minus or [], k=k)
    if as_json:
        show_json({"words": words, "minus": minus or [], "neighbours": near})
    else:
        for word, score in near:
            show(f"{score:.4f}  {one_line(word)}")


def word_vectors(name: str) -> WordVectors:
    """The word vectors of a model by its name, folder or file."""
    from qianru.models import load

    vectors = getattr(load(name), "vectors", None)
    if vectors is None:
        raise BadInput(f"The model {name} has no vectors of single words. qianru fit word2vec makes one that has.")
    return vectors  # type: ignore[no-any-return]   # only models of word vectors have this property


def share(text: str) -> float:
    """A whole number counts texts, one with a point is a share of them.

    >>> share("2"), share("0.5")
    (2, 0.5)
    """
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise BadInput(f"'{text}' is neither a number of texts such as 2 nor a share of them such as 0.01.") from None


def fit_and_save(
    model: Fittable, files: list[Path], output: Path, text_columns: str | None, encoding: str | None, as_json: bool
) -> None:
    """Learns from the passages of the files, saves the model and says what it is."""
    texts = passages_of(files, text_columns, encoding)
    with progress("Learning", "texts") as watch:
        model.fit(texts, progress=watch)
    model.save(output)
    spec = model.spec
    features: list[str] | None = getattr(model, "features", None)
    facts: dict[str, Any] = {"path": str(output), "family": spec.family, "kinds": list(spec.kinds), "dim": spec.dim,
                             "n_texts": len(texts), "n_terms": None if features is None else len(features)}
    if as_json:
        show_json(facts)
    else:
        size = f"{spec.dim} dimensions" if spec.dim else f"{facts['n_terms']:,} terms" if features else "its counts"
        show(f"{spec.family}: {size} from {len(texts):,} texts, saved to {one_line(str(output))}")
        note(f"Use it: qianru index FOLDER --model {output}")
