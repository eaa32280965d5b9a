"""Items like this one, by what their texts say: recommendation without anybody's history."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qianru.errors import BadInput, ShapeMismatch, UnknownName
from qianru.models.base import Model
from qianru.models.lexical import TfIdf
from qianru.scores import Vectors, metric, top_k
from qianru.text.analyze import Analyzer
from qianru.types import Progress, Role

_HAN = re.compile(r"[\u3400-\u9fff]")
_LETTER = re.compile(r"[^\W\d_]")

ENGLISH = Analyzer(
    ngrams=(1, 3),
    split="/(){}[]|@,;",
    drop=r"[^0-9a-z #+_]",       # apostrophes vanish: "hotel's" meets "hotels"
    pattern=r"\b\w\w+\b",        # one letter says nothing in English
    stop_lists=("en",),
)
CHINESE = Analyzer(ngrams=(1, 2), stop_lists=("zh", "en"))


class Similar(NamedTuple):
    """An item, its row among the texts, and how similar it is."""

    name: str
    row: int
    score: float


def similar_items(
    texts: Sequence[str],
    names: Sequence[str],
    item: str,
    k: int = 10,
    model: Model | None = None,
    *,
    progress: Progress | None = None,
) -> list[Similar]:
    """The k items whose texts are most like the item's, best first, without itself; equal scores in order of rows.

    item: a name, or the beginning of just one; of several equal names the first counts
    model: a model that is ready; by default TF-IDF made for the script of the texts and fitted on them
    Scores are cosines, with BM25 its own. Items that share nothing with this one are left out.

    >>> similar_items(["海边的酒店", "海边的民宿", "机场酒店"], ["甲", "乙", "丙"], "甲", k=1)[0].name
    '乙'
    """
    if len(texts) != len(names):
        raise ShapeMismatch(f"{len(texts)} texts need as many names; there are {len(names)}.")
    if k < 1:
        raise BadInput(f"k is the number of items to return, at least 1; got {k}.")
    row = find_item(names, item)
    ready = suited_model(texts).fit(texts) if model is None else model
    query = _vectors(ready, [texts[row]], "query")
    documents = _vectors(ready, texts, "document", progress)
    # BM25's two sides are weighted so that their dot product is the score; cosine would undo its length correction
    score = metric("dot" if ready.spec.family == "bm25" else "cosine")
    scores = np.array(score(query, documents), np.float64)
    scores[0, row] = -np.inf
    found, values = top_k(scores, min(k, len(texts)))
    pairs = zip(found[0].tolist(), values[0].tolist(), strict=True)
    return [Similar(names[i], i, value) for i, value in pairs if value != 0 and np.isfinite(value)]


def find_item(names: Sequence[str], item: str) -> int:
    """The row of the item: by its name, else by the same in another case, else by the beginning of one name only.

    Raises UnknownName, BadInput where the beginning fits several.

    >>> find_item(["Hilton Garden", "Hotel Ändra"], "hilton")
    0
    """
    if item in names:
        return names.index(item)
    wanted = item.strip().casefold()
    folded = [name.strip().casefold() for name in names]
    if wanted in folded:
        return folded.index(wanted)
    begin = sorted({name for name in folded if wanted and name.startswith(wanted)})
    if len(begin) == 1:
        return folded.index(begin[0])
    if begin:
        some = "; ".join(names[folded.index(name)] for name in begin[:5])
        raise BadInput(f"'{item}' begins {len(begin)} names: {some}{'; …' if len(begin) > 5 else ''}. Type more of it.")
    raise UnknownName("item", item, dict.fromkeys(names))


def script(texts: Sequence[str]) -> str:
    """"zh" where Chinese characters are a fifth of the letters or more, else "en".

    >>> script(["BGE-M3 的向量和检索"]), script(["Hotel near 西雅图 airport"])
    ('zh', 'en')
    """
    sample = "".join(text[:2000] for text in texts[:1000])
    letters = len(_LETTER.findall(sample))
    return "zh" if letters and len(_HAN.findall(sample)) >= letters / 5 else "en"


def suited_analyzer(texts: Sequence[str]) -> Analyzer:
    """How to cut these texts into terms, by their script."""
    return CHINESE if script(texts) == "zh" else ENGLISH


def suited_model(texts: Sequence[str], analyzer: Analyzer | None = None) -> TfIdf:
    """TF-IDF for descriptions in the script of the texts, not yet fitted.

    analyzer: how to cut them, the suited one unless given
    Terms are phrases of up to 3 words (Chinese: 2) that stand in at least 1 % of the texts.
    """
    return TfIdf(analyzer or suited_analyzer(texts), min_df=0.01 if len(texts) >= 100 else 1)


def _vectors(model: Model, texts: Sequence[str], role: Role, progress: Progress | None = None) -> Vectors:
    made = model.encode(texts, role=role, progress=progress)
    vectors = made.dense if made.dense is not None else made.sparse
    if vectors is None:
        raise BadInput(f"{model.spec.name} makes {' and '.join(made.kinds)} vectors; this needs dense or sparse ones.")
    return vectors
