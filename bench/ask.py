"""What a knowledge base packs, and how often a follow-up question finds its passage: DRCD dev and CMRC 2018 trial.

    python bench/ask.py                          # a line of JSON for each model and set, and tables
    python bench/ask.py --models bm25 --sets CMRC --sample 300

Packing: the task type Answering (qianru/evaluate/answering.py). Whether the sentence that holds the answer is inside of
500, 1,000 or 2,000 estimated tokens: sentences packed by qianru.text.context, whole passages best first, and whole
passages with a part of the next one. Passages have 300 characters at most, as `qianru index` cuts them. Then whole
passages of 1,000 characters and a sentence's overlap, which is what frameworks usually cut. Intervals: 95 %, bootstrap
over questions of the paired difference.

Follow-ups: two questions about one paragraph are a conversation; what the second shares with the first is taken out of
it, as a person would, and "它" put in its place. BM25's hit rate at 5 for the second question as it was, without these
words, and with words of the first (qianru/use/ask/followup.py). "other topic" pairs questions of different articles:
what words that were not meant do there.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from common import data_folder, machine

from qianru.evaluate.answering import BUDGETS, N_FOUND, holds, read_answers
from qianru.evaluate.data import Search
from qianru.evaluate.encode import Encoder
from qianru.evaluate.fitting import fitted_on
from qianru.evaluate.places import Places
from qianru.evaluate.search import Ids, SearchPlan, search
from qianru.evaluate.task import Task
from qianru.models.remote import estimated_tokens
from qianru.scores.ranking import Ranked
from qianru.text.analyze import Analyzer
from qianru.text.chunk import chunk
from qianru.text.context import Found, pack_each, whole
from qianru.text.read.source import Source
from qianru.use.ask.chat import Message
from qianru.use.ask.followup import with_words_before

SETS = {"DRCD": "retrieval/drcd/DRCD_dev.json.gz", "CMRC": "retrieval/cmrc2018/cmrc2018_trial.json.gz"}
SEED = 20261121
USUAL_CHARS = 1000


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--models", default="bm25,lsa")
    arguments.add_argument("--sets", default="DRCD,CMRC")
    arguments.add_argument("--sample", type=int, default=0, help="questions of each set; all by default")
    given = arguments.parse_args()
    for name in given.sets.split(","):
        data = read_answers(Task(name=name, type="Answering", layout="squad", files={"file": SETS[name]}),
                            Places(data_folder()))
        if given.sample:
            data = sampled(data, given.sample)
        for model in given.models.split(","):
            print(json.dumps({"bench": "ask", "set": name, "model": model, "seed": SEED, "machine": machine(),
                              "n_questions": len(data.queries), **packing(model, data)}), flush=True)
        print(json.dumps({"bench": "ask", "set": name, "follow_ups": follow_ups(data)}), flush=True)


def packing(model: str, data: Search) -> dict[str, Any]:
    """Shares in percent, and intervals of packed minus whole and minus the frameworks' usual passages."""
    inside = shares(model, data, {"packed": True, "whole": False, "cut": False})
    large = replace(data, corpus=lambda: iter(joined(data).items()))
    inside |= {f"usual {how}": values for how, values in shares(model, large, {"whole": False}).items()}
    told: dict[str, Any] = {how: round(100 * float(np.mean(values)), 2) for how, values in inside.items()}
    rng = np.random.default_rng(SEED)
    for budget in BUDGETS:
        for other in (f"whole_at_{budget}", f"cut_at_{budget}", f"usual whole_at_{budget}"):
            gain = 100 * (np.array(inside[f"packed_at_{budget}"]) - np.array(inside[other]))
            draws = rng.integers(0, len(gain), (2000, len(gain)))
            low, high = np.percentile(gain[draws].mean(axis=1), [2.5, 97.5])
            told[f"gain over {other}"] = [round(float(gain.mean()), 2), round(float(low), 2), round(float(high), 2)]
    return told


def shares(model: str, data: Search, hows: dict[str, bool]) -> dict[str, list[float]]:
    """name -> for each question whether its answer's sentence is inside."""
    assert data.answers is not None
    texts = dict(data.corpus())
    inside: dict[str, list[float]] = {}
    for name, ranked in zip(data.queries, rankings(model, data), strict=True):
        found = [Found(texts[id], id.partition("#")[0], int(id.partition("#")[2])) for id in ranked]
        documents = {id.partition("#")[0] for id in data.qrels[name]}
        packed = pack_each(data.queries[name], found, BUDGETS, count=estimated_tokens) if "packed" in hows else None
        for budget in BUDGETS:
            made = {"whole": whole(found, budget, count=estimated_tokens)}
            if packed is not None:
                made |= {"packed": next(packed), "cut": whole(found, budget, count=estimated_tokens, cut=True)}
            for how, stretches in made.items():
                there = holds(stretches, documents, data.answers[name])
                inside.setdefault(f"{how}_at_{budget}", []).append(float(there))
    return inside


def rankings(model: str, data: Search, queries: Sequence[str] | None = None) -> list[list[str]]:
    """For each query the ids of the passages that are found, best first."""
    ready = fitted_on(model, data)
    encoder = Encoder(ready, tuple(kind for kind in ready.spec.kinds if kind != "tokens"))
    asked = encoder.encode(list(data.queries.values() if queries is None else queries), "query")
    ids = Ids.of(data.corpus)
    found: list[Ranked] = list(search(encoder, asked, data.corpus, ids, SearchPlan(N_FOUND)))
    return [[ids.name(number) for number in np.asarray(numbers).tolist()] for numbers, _ in found]


def joined(data: Search) -> dict[str, str]:
    """The same documents in passages of USUAL_CHARS."""
    texts: dict[str, list[str]] = {}
    for id, text in data.corpus():
        texts.setdefault(id.partition("#")[0], []).append(text)
    passages: dict[str, str] = {}
    for document, parts in texts.items():
        text = parts[0]
        for part in parts[1:]:      # without the sentence that it repeats
            n = next((n for n in range(min(len(text), len(part)), 0, -1) if text.endswith(part[:n])), 0)
            text += part[n:]
        for number, piece in enumerate(chunk(Source("", text), max_chars=USUAL_CHARS), 1):
            passages[f"{document}#{number}"] = piece.text
    return passages


def follow_ups(data: Search) -> dict[str, float]:
    """Hit rates at 5 in percent."""
    rng = random.Random(SEED)
    cut = Analyzer()
    by_document: dict[str, list[str]] = {}
    for name in data.queries:
        by_document.setdefault(next(iter(data.qrels[name])).partition("#")[0], []).append(name)
    pairs = [(names[i], names[i + 1]) for names in by_document.values() for i in range(0, len(names) - 1, 2)]
    others = [rng.choice(list(data.queries)) for _ in pairs]
    asked: dict[str, list[str]] = {}
    for (first, second), other in zip(pairs, others, strict=True):
        before, whole_question = data.queries[first], data.queries[second]
        shared = {word for word in cut.tokens(before) if len(word) > 1}
        left, missing = "", False
        at = 0
        for word, start, end in cut.spans(whole_question):
            if start < at:
                continue
            gone = word in shared
            left += whole_question[at:start] + (("" if missing else "它") if gone else whole_question[start:end])
            missing, at = missing or gone, end
        left += whole_question[at:]
        asked.setdefault("whole", []).append(whole_question)
        asked.setdefault("elliptic alone", []).append(left)
        asked.setdefault("elliptic, words before", []).append(with_words_before(left, [Message("user", before)]))
        asked.setdefault("whole, words before (rule)", []).append(
            with_words_before(whole_question, [Message("user", data.queries[other])]))
        asked.setdefault("whole, words before (always), other topic", []).append(
            f"{whole_question} {' '.join(cut.tokens(data.queries[other]))}")
    wanted = [data.qrels[second] for _, second in pairs]
    ranked = rankings("bm25", data, [question for questions in asked.values() for question in questions])
    told: dict[str, float] = {"n": len(pairs)}
    for i, how in enumerate(asked):
        part = ranked[i * len(pairs) : (i + 1) * len(pairs)]
        told[how] = round(100 * float(np.mean([any(id in right for id in ids[:5])
                                               for ids, right in zip(part, wanted, strict=True)])), 2)
    return told


def sampled(data: Search, n: int) -> Search:
    """The same with so many questions, drawn at random."""
    names = random.Random(SEED).sample(list(data.queries), min(n, len(data.queries)))
    assert data.answers is not None
    return replace(data, queries={name: data.queries[name] for name in names},
                   qrels={name: data.qrels[name] for name in names},
                   answers={name: data.answers[name] for name in names})


if __name__ == "__main__":
    main()
