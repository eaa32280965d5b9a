"""Real texts of many kinds, and near-duplicates planted among them, for bench/dedup.py."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from common import read_text

HAN = re.compile("[\u4e00-\u9fff]")
LEAST, PLANTED_FROM = 15, 20         # letters of a text, and of one that gets a copy
PUNCTUATION = str.maketrans("，。！？：；（）", ",.!?:;()")
BACK = str.maketrans(",!?:;()", "，！？：；（）")
FULL_WIDTH = {code: chr(code + 0xFEE0) for code in range(0x21, 0x7F)}
Edit = Callable[[str, random.Random, str], str]


def corpus(data: Path, n: int) -> list[str]:
    """Reviews, news, abstracts, laws, documentation, poems, novels, histories: n at random, none twice."""
    seen: set[str] = set()
    texts: list[str] = []
    for text in _sources(data):
        letters = re.sub(r"\W", "", text)
        if len(letters) >= LEAST and len(HAN.findall(text)) >= 0.6 * len(letters) and letters not in seen:
            seen.add(letters)
            texts.append(text)
    random.Random(0).shuffle(texts)
    return texts[:n]


def planted(texts: list[str], n: int, seed: int = 1) -> tuple[list[str], dict[int, tuple[int, str]]]:
    """The texts with n edited copies of some behind them; row of a copy -> (row of its original, what was done)."""
    drawn = random.Random(seed)
    chosen = drawn.sample([i for i, text in enumerate(texts) if len(text) >= PLANTED_FROM], n)
    pool = "".join(HAN.findall("".join(texts[:2000])))
    copies, origins = [], {}
    for number, row in enumerate(chosen):
        kind = (*EDITS, "two of these")[number % (len(EDITS) + 1)]
        text = texts[row]
        for name in ([kind] if kind in EDITS else drawn.sample(list(EDITS), 2)):
            text = EDITS[name](text, drawn, pool)
        origins[len(texts) + number] = (row, kind)
        copies.append(text)
    return texts + copies, origins


def changed(text: str, drawn: random.Random, pool: str) -> str:
    """1 to 6 % of the letters replaced, put in or left out."""
    letters = list(text)
    for _ in range(max(1, round(len(letters) * drawn.uniform(0.01, 0.06)))):
        at, how = drawn.randrange(len(letters)), drawn.random()
        if how < 0.5:
            letters[at] = drawn.choice(pool)
        elif how < 0.75:
            letters.insert(at, drawn.choice(pool))
        elif len(letters) > 5:
            del letters[at]
    return "".join(letters)


def swapped(text: str, drawn: random.Random, pool: str) -> str:
    """Two times two neighbouring clauses in each other's place; where there is one only, letters changed."""
    parts = [part for part in re.split(r"(?<=[，。！？；,!?;、 ])", text) if part]
    if len(parts) < 2:
        return changed(text, drawn, pool)
    for at in (drawn.randrange(len(parts) - 1), drawn.randrange(len(parts) - 1)):
        parts[at], parts[at + 1] = parts[at + 1], parts[at]
    return "".join(parts) if "".join(parts) != text else "".join(parts[1:] + parts[:1])


def retypeset(text: str, drawn: random.Random, pool: str) -> str:
    """Other punctuation, other width, Traditional script, or spaces for all that is no letter."""
    how = drawn.randrange(4)
    if how == 0:
        new = text.translate(PUNCTUATION)
        new = new if new != text else text.translate(BACK)
    elif how == 1:
        new = text.translate(FULL_WIDTH)
    elif how == 2:
        new = "".join(_traditional().get(letter, letter) for letter in text)
    else:
        new = re.sub(r"[^\w]", " ", text)
    return new if new != text else text + "。。"


def shortened(text: str, drawn: random.Random, pool: str) -> str:
    """The first 60 to 92 %."""
    return text[: max(8, round(len(text) * drawn.uniform(0.6, 0.92)))]


EDITS: dict[str, Edit] = {"changed": changed, "swapped": swapped, "retypeset": retypeset, "shortened": shortened}


def _traditional() -> dict[str, str]:
    from qianru.text.normalize import simplified

    back: dict[str, str] = {}
    for old, new in simplified().items():
        back.setdefault(new, old)
    return back


def _sources(data: Path) -> Iterator[str]:
    with zipfile.ZipFile(data / "classification/online_shopping_10_cats.zip") as archive:
        name = next(name for name in archive.namelist() if name.endswith(".csv"))
        yield from (row["review"] or "" for row in csv.DictReader(io.StringIO(archive.read(name).decode("utf-8-sig"))))
    yield from (row[1] for row in csv.reader(io.StringIO(read_text(data / "classification/waimai_10k.csv.gz"))))
    for name in ("train/text/tnews_unlabeled.json.gz", "train/text/eprstmt_unlabeled.json.gz",
                 "classification/fewclue_iflytek/train_few_all.json.gz"):
        yield from (json.loads(line)["sentence"] for line in read_text(data / name).split("\n") if line.strip())
    yield from (line.split("\t")[1] for line in read_text(data / "retrieval/csl_title/dev.tsv.gz").split("\n") if line)
    for name, ending, most in (("laws_md", ".md", 150_000), ("dotnet_docs_zhcn", ".md", 300_000),
                               ("chinese_poetry", ".json", 60_000), ("../bitext/classical_modern_92books", ".txt",
                                                                     120_000)):
        yield from _packed(data / "train/text" / f"{name}.tar.xz", ending, most)
    for name in ("三国演义.txt.gz", "水浒传.txt.gz", "红楼梦.txt.gz", "西游记.txt"):
        yield from (line.strip() for line in read_text(data / "articles" / name).split("\n"))


def _packed(path: Path, ending: str, most: int) -> Iterator[str]:
    n = 0
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() and member.name.endswith(ending) else None
            if file is None:
                continue
            content = file.read().decode("utf-8", "replace")
            if ending != ".json":
                found = [line.strip() for line in content.split("\n")]
            elif content.lstrip().startswith("["):
                found = ["".join(poem.get("paragraphs", [])) for poem in json.loads(content) if isinstance(poem, dict)]
            else:
                continue
            yield from found
            n += len(found)
            if n > most:
                return
