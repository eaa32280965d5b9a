"""The texts that bench/learn.py learns from and is judged on, as JSON lines, without any text of the evaluation.

    texts      laws, documentation, poems, reviews, news: for pre-training
    weak/      pairs that stand together by nature: heading and article, title and description, halves of a poem, word
               and definition, sentence and translation, sentence and the passage that it is taken out of (half of these
               in Traditional letters, by the dictionary's)
    strong/    pairs that people have judged: entailments with contradictions as negatives, questions of one meaning,
               searches with titles; and a few fresh ones of documentation and passages, so that looking for long texts
               by short ones is not forgotten
    judge/     CSL title -> abstract, DRCD question -> paragraph, STS-B zh: the splits that `qianru evaluate` judges on
"""

from __future__ import annotations

import csv
import json
import random
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from common import read_text

Row = dict[str, Any]
N_MOST = 40_000          # rows of a set
N_FRESH = 2_500          # of these sets are learnt from in the last stage only
FRESH = ("weak/docs", "weak/passages")
LONGEST, SHORTEST = 400, 6   # letters of a text
PASSAGE = 120            # letters, from which a passage is long enough
STILL_IN = 0.1           # of the passages hold the sentence that is asked for
ROUNDS = 6               # of looking for what else a test text stands in
OVERLAPS = 0.5           # of a test text's n-grams, from which `qianru evaluate` warns
ARTICLE = re.compile(r"^第[一二三四五六七八九十百千零]+条\s+")


def prepare(data: Path, folder: Path) -> dict[str, int]:
    """Writes all sets, if they are not there; file -> rows."""
    done = folder / "rows.json"
    if not done.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        judged = {f"judge/{name}": rows for name, rows in judges(data).items()}
        learnt: dict[str, list[Row]] = {}
        for name, rows in sources(data):
            kept = sampled(rows, N_MOST + N_FRESH)
            n_weak = min(N_MOST, len(kept) - N_FRESH) if name in FRESH else min(N_MOST, len(kept))
            learnt[name] = kept[:n_weak]
            if name in FRESH:
                learnt[name.replace("weak", "strong")] = kept[n_weak:]
        learnt["texts"] = sampled([{"text": text} for rows in learnt.values() for row in rows for text in texts_in(row)
                                   if len(text) >= 20], 4 * N_MOST)
        n_before = {name: len(rows) for name, rows in learnt.items()}
        learnt = clean(learnt, judged)
        weak = [row for name, rows in learnt.items() if name.startswith("weak/") for row in rows]
        learnt["weak-mixed"] = sampled(weak, len(weak))
        for name, rows in (judged | learnt).items():
            write(folder / f"{name}.jsonl", rows)
        counts = {name: len(rows) for name, rows in learnt.items()}
        counts |= {f"{name}, dropped": n - counts[name] for name, n in n_before.items()}
        done.write_text(json.dumps(counts, indent=2))
    return dict(json.loads(done.read_text()))


def judges(data: Path) -> dict[str, list[Row]]:
    """What is held out."""
    abstracts = [line.split("\t") for line in read_text(data / "retrieval/csl_title/dev.tsv.gz").splitlines()]
    drcd = json.loads(read_text(data / "retrieval/drcd/DRCD_dev.json.gz"))["data"]
    scored = [line.split("\t") for line in read_text(data / "sts/stsb_zh/STS-B.valid.data").splitlines()]
    return {
        "csl": [{"query": cells[2], "pos": [cells[1]]} for cells in abstracts],
        "drcd": [{"query": question["question"], "pos": [paragraph["context"]]} for article in drcd
                 for paragraph in article["paragraphs"] for question in paragraph["qas"]],
        "stsb": [{"sentence1": a, "sentence2": b, "score": float(c)} for a, b, c in scored],
    }


def sources(data: Path) -> Iterator[tuple[str, list[Row]]]:
    """(name, rows) of each set that is learnt from."""
    train = data / "train"
    for name, read, *which in ARCHIVES:
        yield f"weak/{name}", [row for text in packed(train / "text" / which[0], *which[1:]) for row in read(text)]
    entries = re.compile(r"^(\S+) (\S+) \[[^\]]*\] /(.+)/\s*$")
    dictionary = read_text(train / "pairs/cedict_1_0_ts_utf-8_mdbg.txt.gz").splitlines()
    words = [m for m in map(entries.match, dictionary) if m]
    yield "weak/words", [pair(m[2], m[3].replace("/", "; ")) for m in words]
    books = list(packed(train / "bitext/classical_modern_92books.tar.xz", "bitext.txt"))
    yield "weak/classics", [row for text in books for row in translated(text)]
    yield "weak/passages", passages(books, letters((m[1], m[2]) for m in words))
    yield "weak/translations", [pair(*line.split("\t")[:2]) for line in lines(train / "pairs/tatoeba_cmn_eng.txt.gz")]
    news = (json.loads(line) for line in lines(train / "text/tnews_unlabeled.json.gz"))
    yield "weak/news", [pair(row["keywords"].replace(",", " "), row["sentence"]) for row in news if row["keywords"]]
    yield "strong/entailments", entailments(train / "pairs", "snli_zh_dev.txt.gz", "snli_zh_test.txt.gz")
    questions = [line.split("\t") for line in lines(train / "pairs/afqmc_train.txt.gz")]
    questions += [cells[1:] for cells in csv.reader(lines(train / "pairs/atec_train.csv.gz"), delimiter="\t")]
    questions += [line.split("\t") for line in lines(train / "pairs/oppo_xiaobu_dev.txt")]
    yield "strong/questions", [pair(*cells[:2]) for cells in questions if len(cells) == 3 and cells[2] == "1"]
    asked = (json.loads(line) for line in lines(train / "pairs/qbqtc_old_train.json.gz"))
    yield "strong/searches", [pair(row["query"], row["title"]) for row in asked if row["relevant"] != "0"]


def articles(text: str) -> Iterator[Row]:
    """Law and chapter with each article."""
    law = chapter = ""
    for line in text.splitlines():
        if line.startswith("# "):
            law = line[2:].strip()
        elif line.startswith("## "):
            chapter = line[3:].strip()
        elif law and ARTICLE.match(line):
            yield pair(f"{law} {chapter}".strip(), ARTICLE.sub("", line))


def described(text: str) -> Iterator[Row]:
    """Title with description; each heading with the paragraph below it."""
    found = dict(re.findall(r"^(title|description): *(.+)$", text, re.M))
    if len(found) == 2:
        yield pair(found["title"].strip("'\""), found["description"].strip("'\""))
        for heading, below in re.findall(r"^##+ (.+)\n+([^\n#|`>\-*<:].+)$", text, re.M):
            yield pair(f"{found['title']} {heading}", below)


def halves(text: str) -> Iterator[Row]:
    """The first half of each poem with the second."""
    for poem in json.loads(text):
        verses = poem.get("paragraphs", [])
        if len(verses) > 1:
            yield pair("".join(verses[: len(verses) // 2]), "".join(verses[len(verses) // 2 :]))


def translated(text: str) -> Iterator[Row]:
    """A classical sentence with the same in modern words."""
    for old, new in re.findall(r"^古文：(.+)\n现代文：(.+)$", text, re.M):
        if SHORTEST <= len(old) <= LONGEST:
            yield pair(old, new)


def passages(books: Iterable[str], traditional: dict[int, str]) -> list[Row]:
    """A sentence with the sentences around it (Lee et al. 2019, the inverse cloze task); in every tenth it stands too.

    Half of the pairs are in Traditional letters.
    """
    draw, made = random.Random(7), list[Row]()
    for text in books:
        lines = re.findall(r"^现代文：(.+)$", text, re.M)
        at = 0
        while at < len(lines):
            found: list[str] = []
            while at < len(lines) and sum(map(len, found)) < PASSAGE:
                found.append(lines[at].strip())
                at += 1
            i = draw.randrange(len(found))
            around = found if draw.random() < STILL_IN else [*found[:i], *found[i + 1 :]]
            if len(found) > 2 and len(found[i]) >= SHORTEST:
                made.append(pair(found[i], "".join(around)))
    return [pair(row["query"].translate(traditional), row["pos"][0].translate(traditional)) if draw.random() < 0.5
            else row for row in sampled(made, N_MOST + N_FRESH)]


def letters(words: Iterable[tuple[str, str]]) -> dict[int, str]:
    """Simplified letter -> the Traditional one that the dictionary has most often in its place."""
    counts: dict[str, Counter[str]] = {}
    for traditional, simplified in words:
        for old, new in zip(traditional, simplified, strict=False):
            counts.setdefault(new, Counter())[old] += 1
    return {ord(new): found.most_common(1)[0][0] for new, found in counts.items()}


def entailments(folder: Path, *names: str) -> list[Row]:
    """A sentence, one that follows from it, those that contradict it."""
    said: dict[str, dict[str, list[str]]] = {}
    for name in names:
        for line in lines(folder / name):
            first, second, label = line.split("\t")
            said.setdefault(first, {}).setdefault(label, []).append(second)
    return [{"query": first, "pos": found["entailment"], "neg": found.get("contradiction", [])}
            for first, found in said.items() if "entailment" in found]


ARCHIVES: tuple[Any, ...] = (
    ("laws", articles, "laws_md.tar.xz", ".md"),
    ("docs", described, "dotnet_docs_zhcn.tar.xz", ".md"),
    ("poems", halves, "chinese_poetry.tar.xz", ".json", "全唐诗/poet."),
)
"""name, what reads a file, archive, how its files' names end and what else they hold"""


def clean(learnt: dict[str, list[Row]], judged: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """Without rows that hold a text of the evaluation, or half of one's n-grams, as Qianru's own finder sees it."""
    from qianru.evaluate.contamination import TrainText, find_contaminations

    tests = {name: list(dict.fromkeys(text for row in rows for text in texts_in(row))) for name, rows in judged.items()}
    for _ in range(ROUNDS):
        texts = (TrainText(f"{name}\t{i}", text) for name, rows in learnt.items() for i, row in enumerate(rows)
                 for text in texts_in(row))
        found = find_contaminations(tests, texts, n_leaks=10_000)
        places = {leak.place for one in found.values() for leak in one.leaks if leak.exact or leak.share >= OVERLAPS}
        if not places:
            return learnt
        learnt = {name: [row for i, row in enumerate(rows) if f"{name}\t{i}" not in places]
                  for name, rows in learnt.items()}
    raise SystemExit(f"After {ROUNDS} rounds texts of the evaluation are still there: {sorted(places)[:5]}.")


def packed(path: Path, suffix: str, within: str = "") -> Iterator[str]:
    """The texts of an archive's files."""
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(suffix) and within in member.name:
                file = archive.extractfile(member)
                assert file
                yield file.read().decode("utf-8", "replace")


def pair(query: str, positive: str) -> Row:
    """A row of the two."""
    return {"query": query.strip()[:LONGEST], "pos": [positive.strip()[:LONGEST]], "neg": []}


def lines(path: Path) -> list[str]:
    """Of a text file, packed or not."""
    return read_text(path).lstrip("\ufeff").splitlines()


def texts_in(row: Row) -> list[str]:
    """All texts of a row."""
    return [text for value in row.values() for text in (value if isinstance(value, list) else [value])
            if isinstance(text, str)]


def sampled(rows: Sequence[Row], most: int = N_MOST) -> list[Row]:
    """As many at random, none twice, none with a text of a few letters only on both sides."""
    once = {json.dumps(row, ensure_ascii=False): row for row in rows
            if all(texts_in(row)) and sum(map(len, texts_in(row))) >= SHORTEST}
    kept = list(once.values())
    random.Random(42).shuffle(kept)
    return kept[:most]


def write(path: Path, rows: Iterable[Row]) -> None:
    """JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
