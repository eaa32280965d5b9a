"""The pairs that qianru-zh-mini learns from, derived from texts whose licences allow it, none of them an evaluation's.

    laws, docs, cases, recipes    title -> body, heading -> text below it, a sentence -> the next one
    novels, poems                 a sentence -> the next one, the first half -> the second
    keywords                      the words of a passage that are rarest -> the passage
    words, synonyms               a word -> its English meaning, a word -> one with the same meaning (CC-CEDICT)
    translations                  a sentence -> its translation
    paraphrases, english          a sentence -> one with the same translation, one that people say means the same
    titles                        the halves of an academic title

Every row that holds a text of any task in tests/tasks, or half of its n-grams, is dropped; what was found is written to
contamination.json. The Civil Code and its questions stay out too: they judge.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
import re
import sys
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

from qianru.text.normalize import fold  # noqa: E402

Row = dict[str, Any]
SEED = 42
LONGEST, SHORTEST = 160, 4     # letters of a text
SLICE = 9                      # letters in a row that a text must share with a tested one to be looked at again
OVERLAPS = 0.5                 # of a test text's n-grams, from which `qianru evaluate` warns
MOST = {"laws": 30_000, "laws-next": 30_000, "docs": 25_000, "docs-next": 20_000, "keywords": 60_000, "novels": 40_000,
        "poems": 8_000}        # rows of a set: more of these teach little more, and make others fewer
ARTICLE = re.compile(r"^第[一二三四五六七八九十百千零]+条\s*")
SENTENCE = re.compile(r"[^。！？；!?\n]+[。！？；!?]?[”’」』）)]*")
ENTRY = re.compile(r"^(\S+) (\S+) \[[^\]]*\] /(.+)/\s*$")
GLOSS = re.compile(r"\([^)]*\)|\[[^\]]*\]|[^\x00-\x7f|]+\|?")
PLAIN = re.compile(r"^(?:to |a |an |the )?([a-z][a-z' -]{2,40})$")
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|[`*_]{1,3}|<[^>]+>")


def main() -> None:
    """derive.py DATA FOLDER"""
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    sets = {name: thinned(name, rows) for name, rows in derived(data).items()}
    before = {name: len(rows) for name, rows in sets.items()}
    sets, found = clean(sets, data)
    for name, rows in sets.items():
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    told = {"rows": {name: len(rows) for name, rows in sets.items()},
            "dropped": {name: before[name] - len(rows) for name, rows in sets.items()}, "tasks": found}
    (folder / "contamination.json").write_text(json.dumps(told, ensure_ascii=False, indent=2), "utf-8")
    print(json.dumps(told, ensure_ascii=False, indent=2))


def derived(data: Path) -> dict[str, Iterable[Row]]:
    """Name -> rows, before anything is left out."""
    text, pairs = data / "train" / "text", data / "train" / "pairs"
    statutes = {path: law(content) for path, content in packed(text / "laws_md.tar.xz", ".md")
                if not path.startswith("民法典/")}
    laws = [parts for path, parts in statutes.items() if not path.startswith("案例/")]
    cases = [parts for path, parts in statutes.items() if path.startswith("案例/")]
    docs = [page(content) for _, content in packed(text / "dotnet_docs_zhcn.tar.xz", ".md")]
    recipes = [page(content) for _, content in packed(data / "recommend/howtocook_dishes.tar.xz", ".md")]
    poems = [poem for path, content in packed(text / "chinese_poetry.tar.xz", ".json")
             if "全唐诗/poet." in path or "宋词/ci.song" in path for poem in json.loads(content)]
    novels = [paragraphs(read(path)) for path in sorted((data / "articles").glob("*.txt*"))]
    translated = [(cells[0], cells[1]) for line in read(pairs / "tatoeba_cmn_eng.txt.gz").splitlines()
                  if len(cells := line.split("\t")) > 1]
    entries = [m for line in read(pairs / "cedict_1_0_ts_utf-8_mdbg.txt.gz").splitlines() if (m := ENTRY.match(line))]
    passages = [below for title, parts in (*laws, *docs, *recipes) for _, below in parts if len(below) >= 40]
    return {
        "laws": [pair(f"{title} {heading}", below) for title, parts in laws for heading, below in parts],
        "cases": [pair(title, below) for title, parts in cases for _, below in parts if len(below) >= 20],
        "laws-next": [row for _, parts in laws for _, below in parts for row in neighbours(below)],
        "docs": [pair(f"{title} {heading}", below) for title, parts in docs for heading, below in parts],
        "docs-next": [row for _, parts in docs for _, below in parts for row in neighbours(below)],
        "recipes": [pair(f"{title} {heading}", below) for title, parts in recipes for heading, below in parts],
        "keywords": keywords(passages),
        "novels": [row for parts in novels for part in parts for row in neighbours(part)],
        "poems": [pair("".join(lines[: len(lines) // 2]), "".join(lines[len(lines) // 2 :]))
                  for poem in poems if len(lines := poem.get("paragraphs", [])) > 1],
        "words": [pair(m[2], meanings(m[3])) for m in entries],
        "synonyms": synonyms(entries),
        "translations": [pair(chinese, english) for english, chinese in translated],
        "paraphrases": [*alike(translated), *alike((b, a) for a, b in translated)],
        "english": same_in_english(data / "sts/stsb_en/stsbenchmark.train_dev.tsv.gz"),
        "titles": [row for line in read(data / "classification/csl_ctg/train.tsv.gz").splitlines()
                   for row in halves(line.split("\t")[1])],
    }


def law(content: str) -> tuple[str, list[tuple[str, str]]]:
    """(title, (chapter, article)s); of a case its paragraphs."""
    _, _, body = content.partition("<!-- INFO END -->")
    title = next((line[2:].strip() for line in content.splitlines() if line.startswith("# ")), "")
    chapter, parts, articles = "", list[tuple[str, str]](), False
    for line in map(str.strip, (body or content).splitlines()):
        if line.startswith("#"):
            chapter = re.sub(r"^第\S+[章节编]\s*", "", line.strip("# \u3000"))
        elif ARTICLE.match(line):
            articles = True
            parts.append((chapter, ARTICLE.sub("", line)))
        elif line and articles:
            parts[-1] = (parts[-1][0], parts[-1][1] + line)
        elif line:
            parts.append((chapter, line))
    return title, parts


def page(content: str) -> tuple[str, list[tuple[str, str]]]:
    """(title, (heading, text)s) of a page of Markdown; the description of its front matter is a text."""
    front = dict(re.findall(r"^(title|description): *[\"']?(.+?)[\"']?$", content[:2000], re.M))
    first = re.search(r"^# (.+)$", content, re.M)
    title = front.get("title") or (first[1] if first else "")
    title = re.sub(r" \| Microsoft Docs|的做法$", "", LINK.sub(r"\1", title)).strip()
    parts = [("", front["description"])] if "description" in front else []
    heading, code = "", False
    for line in content.partition("\n---\n")[2].splitlines() if content.startswith("---") else content.splitlines():
        if line.startswith("```"):
            code = not code
        elif line.startswith("#"):
            heading = LINK.sub(r"\1", line.strip("# ")).strip()
            heading = "" if heading.startswith(title) else heading
        elif not code and len(line) > 15 and line[0] not in "|<:{>[!" and "如果您遵循本指南" not in line:
            parts.append((heading, LINK.sub(r"\1", line.lstrip("*-+0123456789. "))))
    return title, parts


def paragraphs(content: str) -> list[str]:
    """The paragraphs of a novel."""
    return [line.strip() for line in content.splitlines() if len(line.strip()) > 20]


def neighbours(text: str) -> Iterator[Row]:
    """Each sentence with the next, no sentence in two rows."""
    sentences = [s for s in SENTENCE.findall(text) if len(s) >= 8]
    for first, second in islice(pairwise(sentences), 0, None, 2):
        yield pair(first, second)


def halves(title: str) -> Iterator[Row]:
    """A title cut at a mark near its middle."""
    parts = re.split(r"——|:|：|的", title)
    if len(parts) > 1 and all(len(part) >= SHORTEST for part in (parts[0], "".join(parts[1:]))):
        yield pair(parts[0], "".join(parts[1:]))


def keywords(passages: list[str]) -> Iterator[Row]:
    """The three to six rarest words of a passage, and the passage, at random without one of them."""
    from qianru.text.segment import segmenter

    cut = segmenter()
    rng = random.Random(SEED)
    rng.shuffle(passages)
    passages = passages[: MOST["keywords"]]
    words = [[word for word in dict.fromkeys(cut.words(passage)) if len(word) > 1] for passage in passages]
    frequency = Counter(word for some in words for word in some)
    for passage, some in zip(passages, words, strict=True):
        rare = sorted((word for word in some if frequency[word] > 2), key=frequency.__getitem__)[: rng.randint(3, 6)]
        if len(rare) >= 3:
            rng.shuffle(rare)
            yield pair(" ".join(rare), passage)


def meanings(gloss: str) -> str:
    """The English of an entry, without notes on use and measure words."""
    kept = [part for part in gloss.split("/") if not part.startswith(("CL:", "variant of", "old variant", "see "))]
    return "; ".join(GLOSS.sub("", part).strip() for part in kept).strip("; ")


def synonyms(entries: list[re.Match[str]]) -> Iterator[Row]:
    """Two words with a meaning in common, spelled alike."""
    having: dict[str, list[str]] = defaultdict(list)
    for m in entries:
        for part in m[3].split("/"):
            plain = PLAIN.match(GLOSS.sub("", part).strip())
            if plain and m[2] not in having[plain[1]]:
                having[plain[1]].append(m[2])
    for words in having.values():
        if 2 <= len(words) <= 12:
            for first, second in pairwise([*words, words[0]] if len(words) > 2 else words):
                yield {"query": first, "pos": [second]}


def alike(translated: Iterable[tuple[str, str]]) -> Iterator[Row]:
    """Two sentences with one translation, if they are not the same but for script and punctuation."""
    having: dict[str, dict[str, str]] = defaultdict(dict)
    for translation, sentence in translated:
        having[translation].setdefault(letters(sentence), sentence)
    for sentences in having.values():
        for first, second in pairwise(sentences.values()):
            yield pair(first, second)


def same_in_english(path: Path) -> Iterator[Row]:
    """Sentences that people scored 4 or 5 of 5 for saying the same, of the training part."""
    for row in csv.DictReader(read(path).splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
        if row["split"] == "train" and float(row["score"]) >= 4:
            yield pair(row["sentence1"], row["sentence2"])


def pair(query: str, positive: str) -> Row:
    """A row of the two."""
    return {"query": query.strip()[:LONGEST], "pos": [positive.strip()[:LONGEST]]}


def thinned(name: str, rows: Iterable[Row]) -> list[Row]:
    """As many as the set may have, at random, none twice, none with almost nothing in it."""
    once = {json.dumps(row, ensure_ascii=False): row for row in rows
            if row["query"] and row["pos"][0] and row["query"] != row["pos"][0]
            and len(row["query"]) + len(row["pos"][0]) >= SHORTEST}
    kept = list(once.values())
    random.Random(SEED).shuffle(kept)
    return kept[: MOST.get(name)]


def clean(sets: dict[str, list[Row]], data: Path) -> tuple[dict[str, list[Row]], dict[str, Any]]:
    """(sets without rows that hold a text of a task, or half of one's n-grams; what was found, task by task).

    All rows are searched twice: to learn which tested texts stand in any, and to show that none is left. Between the
    two, only rows that share a few letters with one of these are.
    """
    tests = judged_texts(data)
    same = {key for texts in tests.values() for text in texts if (key := letters(text))}
    sets = {name: [row for row in rows if same.isdisjoint(map(letters, (row["query"], *row["pos"])))]
            for name, rows in sets.items()}
    rows = {f"{name}\t{i}": row for name, some in sets.items() for i, row in enumerate(some)}
    places, found = leaks(tests, rows)
    told = {task: {"texts": len(tests[task]), "stood_in_rows": len(texts)} for task, texts in found.items()}
    while places:
        slices = {key[i : i + SLICE] for texts in found.values() for key in map(letters, texts)
                  for i in range(len(key) - SLICE + 1)}
        near = {place: row for place, row in rows.items() if place in places or not slices.isdisjoint(
            key[i : i + SLICE] for key in map(letters, (row["query"], *row["pos"]))
            for i in range(len(key) - SLICE + 1))}
        while (some := leaks(tests, near)[0]):
            near = {place: row for place, row in near.items() if place not in some}
            places |= some
        rows = {place: row for place, row in rows.items() if place not in places}
        places, found = leaks(tests, rows)
    for task in tests:
        told[task]["stand_in_rows_now"] = len(found[task])
    return {name: [row for place, row in rows.items() if place.partition("\t")[0] == name] for name in sets}, told


def leaks(tests: dict[str, list[str]], rows: dict[str, Row]) -> tuple[set[str], dict[str, list[str]]]:
    """(places of rows with a tested text, one for each such text; task -> these texts), found as judging finds them."""
    from qianru.evaluate.contamination import TrainText, find_contaminations

    texts = (TrainText(place, text) for place, row in rows.items() for text in (row["query"], *row["pos"]))
    found = {task: [leak for leak in one.leaks if leak.exact or leak.share >= OVERLAPS]
             for task, one in find_contaminations(tests, texts, n_leaks=10_000).items()}
    return {leak.place for some in found.values() for leak in some}, {task: [leak.text for leak in some]
                                                                      for task, some in found.items()}


def letters(text: str) -> str:
    """The text without what does not make it another: case, width, script, punctuation."""
    return "".join(filter(str.isalnum, fold(text, script=True).lower()))


def judged_texts(data: Path) -> dict[str, list[str]]:
    """Task -> every text that is tested in it; not what its classifiers learn from."""
    from qianru.evaluate.data import Clusters, Labelled, Pairs, read_data
    from qianru.evaluate.places import Places
    from qianru.evaluate.task import find_tasks

    found: dict[str, list[str]] = {}
    for task in find_tasks(str(HERE.parent.parent / "tests" / "tasks")):
        judged = read_data(task, Places(data))
        if isinstance(judged, Labelled):
            texts = list(judged.texts)
        elif isinstance(judged, Clusters):
            texts = [text for some, _ in judged.sets for text in some]
        elif isinstance(judged, Pairs):
            texts = [*judged.left, *judged.right]
        else:
            texts = [*judged.queries.values(), *(text for _, text in judged.corpus())]
        found[task.name] = list(dict.fromkeys(texts))
    return found


def packed(path: Path, suffix: str) -> Iterator[tuple[str, str]]:
    """(path, text) of an archive's files, in the order of their names."""
    with tarfile.open(path) as archive:
        found = {member.name: archive.extractfile(member) for member in archive
                 if member.isfile() and member.name.endswith(suffix)}
        texts = {name: file.read().decode("utf-8", "replace") for name, file in found.items() if file}
    yield from sorted(texts.items())


def read(path: Path) -> str:
    """The text of a file, packed or not."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return content.decode("utf-8").lstrip("\ufeff")


if __name__ == "__main__":
    main()
