"""Near-duplicates planted among real texts: what is found, how much of it is right, time and memory, beside datasketch.

    python bench/dedup.py [--texts 200000] [--planted 5000] [--threshold 0.8]

Each contestant runs in a process of its own on the same file of texts. A pair that is found is right if it is a copy
with its original, or if a judge that knows neither contestant says that its texts are nearly the same: without
punctuation and in one script, four fifths of the shorter one's letters stand in the other in the same order, clause by
clause or as a whole (difflib), and the shorter one has two fifths of the longer one's length at least.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from common import data_folder, peak_rss_mb, report
from dedup_data import corpus, planted

PERMUTATIONS = 128
JUDGED = 3_000            # pairs beyond the planted ones that the judge reads, at random


def ours(texts: list[str], threshold: float) -> list[tuple[int, int]]:
    """All pairs by Qianru's join."""
    import numpy as np

    from qianru.use.duplicates.grouping import alike_as_a_whole
    from qianru.use.duplicates.join import similar_pairs
    from qianru.use.duplicates.shingles import shingled

    sets = shingled(texts)
    same = alike_as_a_whole(sets)
    pairs = similar_pairs(sets, threshold, np.unique(same))
    found = list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))
    members: dict[int, list[int]] = {}
    for row, first in enumerate(same.tolist()):
        if first != row:
            members.setdefault(first, []).append(row)
            found.append((first, row))
    for left, right in list(found):           # what is alike to a text is alike to those equal to it
        found += [(left, other) for other in members.get(right, []) if left != other and same[left] != same[other]]
        found += [(other, right) for other in members.get(left, []) if same[other] != same[right]]
    return sorted({(min(pair), max(pair)) for pair in found})


def datasketch(texts: list[str], threshold: float) -> list[tuple[int, int]]:
    """MinHash LSH over the same runs of characters, folded the same way; candidates checked by their estimate."""
    import re

    from datasketch import MinHash, MinHashLSH

    from qianru.text.normalize import fold

    index = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
    sketches, found = [], []
    for row, text in enumerate(texts):
        letters = re.sub(r"[\W_]", "", fold(text, script=True).lower())
        sketch = MinHash(PERMUTATIONS)
        sketch.update_batch([run.encode("utf-8", "replace") for run in {letters[i : i + 2]
                                                                       for i in range(len(letters) - 1)}])
        found += [(other, row) for other in index.query(sketch) if sketches[other].jaccard(sketch) >= threshold]
        index.insert(row, sketch)
        sketches.append(sketch)
    return found


def child(name: str, file: Path, threshold: float, answer: Path) -> None:
    """One contestant: the pairs to a file, time and memory on stdout."""
    texts = json.loads(file.read_text("utf-8"))
    before = peak_rss_mb()
    wall, cpu = time.perf_counter(), time.process_time()
    found = {"qianru": ours, "datasketch": datasketch}[name](texts, threshold)
    print(json.dumps({"wall_s": round(time.perf_counter() - wall, 1), "cpu_s": round(time.process_time() - cpu, 1),
                      "peak_rss_mb": peak_rss_mb(), "texts_alone_mb": before}))
    answer.write_text(json.dumps(found))


def nearly_same(left: str, right: str) -> bool:
    """The judge."""
    import re

    from qianru.text.normalize import fold

    plain = [re.sub(r"[\W_]+", " ", fold(text, script=True).lower()).strip() for text in (left, right)]
    for one, other in (plain, [" ".join(sorted(text.split())) for text in plain]):
        one, other = one.replace(" ", ""), other.replace(" ", "")
        short, long = sorted((len(one), len(other)))
        shared = sum(block.size for block in SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks())
        if short and shared >= 0.8 * short and short >= 0.4 * long:
            return True
    return False


def judged(texts: list[str], origins: dict[int, tuple[int, str]], found: list[tuple[int, int]]) -> dict[str, Any]:
    """Recall of the planted pairs, by what was done; precision of all pairs."""
    import random

    pairs = set(found)
    by_kind: dict[str, list[bool]] = {}
    for row, (origin, kind) in origins.items():
        by_kind.setdefault(kind, []).append((origin, row) in pairs)
    hits = [hit for some in by_kind.values() for hit in some]
    others = [pair for pair in found if origins.get(pair[1], (None,))[0] != pair[0]]
    read = random.Random(0).sample(others, min(JUDGED, len(others)))
    right = sum(nearly_same(texts[left], texts[right]) for left, right in read) / max(len(read), 1)
    n_right = sum(hits) + right * len(others)
    return {"recall": round(sum(hits) / len(hits), 4),
            "recall_by_edit": {kind: round(sum(some) / len(some), 4) for kind, some in by_kind.items()},
            "precision": round(n_right / max(len(found), 1), 4), "n_pairs": len(found), "n_not_planted": len(others),
            "of_these_right": round(right, 4)}


def main() -> None:
    """Runs both, prints one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--planted", type=int, default=5_000)
    parser.add_argument("--threshold", type=float, default=0.8)
    parser.add_argument("--rival-threshold", type=float, nargs="*", default=[0.5, 0.6])
    parser.add_argument("--child", nargs=4)
    given = parser.parse_args()
    if given.child:
        name, file, threshold, answer = given.child
        child(name, Path(file), float(threshold), Path(answer))
        return
    texts, origins = planted(corpus(data_folder(), given.texts), given.planted)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        file, answer = Path(folder) / "texts.json", Path(folder) / "pairs.json"
        file.write_text(json.dumps(texts, ensure_ascii=False), "utf-8")
        for name, threshold in [("qianru", given.threshold), *(("datasketch", one) for one in given.rival_threshold)]:
            command = [sys.executable, __file__, "--child", name, str(file), str(threshold), str(answer)]
            said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            found = [(left, right) for left, right in json.loads(answer.read_text())]
            figures[f"{name} {threshold}"] = said | judged(texts, origins, found)
            print(name, threshold, figures[f"{name} {threshold}"], file=sys.stderr, flush=True)
    report("dedup", ["qianru", "datasketch", "numpy"], n_texts=len(texts), n_planted=len(origins),
           permutations=PERMUTATIONS, **figures)


if __name__ == "__main__":
    main()
