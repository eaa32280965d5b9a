"""Twenty questions in other words than the texts: how often their article or recipe is among the first five.

    python bench/questions.py [--models bm25,qianru-zh-mini,hybrid] [--show]

Documents are the articles of the Civil Code and the passages that `qianru index` makes of the recipes of HowToCook; a
recipe is where its best passage is. bench/questions.jsonl was written before any model was asked. hybrid: BM25 and
qianru-zh-mini in one collection, fused as the command line does by default.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import HERE, data_folder, read_text, report

sys.path[:0] = [str(HERE.parent)]

from qianru import Collection, Document  # noqa: E402
from qianru.text.chunk import chunk  # noqa: E402
from qianru.text.read.source import Source  # noqa: E402

TOP = 5
ARTICLE = re.compile(r"^(第[一二三四五六七八九十百千零]+条)\s", re.M)
PART = {True: 0, False: -1}      # of an id: the recipe before its passage, the article behind its book
HYBRID = ["bm25", "qianru-zh-mini"]


def documents() -> Iterator[Document]:
    """Articles by their numbers, passages of recipes by these' names."""
    data = data_folder()
    for path in sorted((data / "articles/民法典").glob("*.md")):
        parts = ARTICLE.split(re.sub(r"^#.*$", "", read_text(path), flags=re.M))
        for number, text in zip(parts[1::2], parts[2::2], strict=True):
            yield Document(f"{path.stem} {number}", text.strip())
    with tarfile.open(data / "recommend/howtocook_dishes.tar.xz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith(".md") else None
            if file:
                name = Path(member.name).stem
                for piece in chunk(Source(name, file.read().decode())):
                    yield Document(f"{name}#{piece.start}", piece.text)


def ranks(model: str | list[str], questions: list[dict[str, Any]], found: list[Document]) -> list[int]:
    """The rank of the best expected document for each question, 0 if it is not among the first hundred."""
    with tempfile.TemporaryDirectory() as place, Collection.create(Path(place) / "library", model) as library:
        library.add(found)
        ranked = [list(dict.fromkeys(re.split("[ #]", hit.id)[PART["#" in hit.id]]
                                     for hit in library.search(one["question"], 100))) for one in questions]
    return [min((hits.index(name) + 1 for name in one["expected"] if name in hits), default=0)
            for one, hits in zip(questions, ranked, strict=True)]


def main() -> None:
    """Prints one line of JSON, with --show a line a question before it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="bm25,qianru-zh-mini,hybrid")
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args()
    questions = [json.loads(line) for line in (HERE / "questions.jsonl").read_text("utf-8").splitlines()]
    found = list(documents())
    by_model = {name: ranks(HYBRID if name == "hybrid" else name, questions, found) for name in given.models.split(",")}
    if given.show:
        for i, one in enumerate(questions):
            print(*(f"{places[i]:4d}" for places in by_model.values()), one["question"], one["expected"][0])
    report("questions", ["numpy"], n_documents=len(found), n_questions=len(questions), ranks=by_model,
           in_first_five={name: sum(0 < rank <= TOP for rank in places) for name, places in by_model.items()})


if __name__ == "__main__":
    main()
