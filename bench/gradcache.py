"""Peak memory of a step of training by batch size: what GradCache lets a batch of thousands cost.

    python bench/gradcache.py [--sizes 64,4096] [--texts mixed,titles] [--loss info_nce] [--threads 1]

One step of `train`, AdamW's numbers included, on a 4 x 512 encoder of random weights; every size in its own process.

    titles   pairs of news titles and of reviews, some 20 characters each
    mixed    the same, but every tenth text is the beginning of a paper's abstract, up to 600 characters

One line of JSON for each kind of texts; against_smallest is the peak over that of the smallest batch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import HERE, data_folder, peak_rss_mb, read_text, report

sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests" / "models")]

from qianru import __version__  # noqa: E402

KINDS = ("mixed", "titles")


def texts_of(kind: str, data: Path) -> list[str]:
    """Distinct texts."""
    titles = read_text(data / "classification/fewclue_tnews/test_public.json").splitlines()
    reviews = read_text(data / "classification/waimai_10k.csv.gz").splitlines()[1:]
    found = [json.loads(line)["sentence"] for line in titles] + [line[2:] for line in reviews]
    found = list(dict.fromkeys(text for text in found if len(text) > 6))
    if kind == "mixed":
        rows = read_text(data / "retrieval/csl_title/dev.tsv.gz").splitlines()
        abstracts = [row.split("\t")[1][:600] for row in rows]
        found[::10] = [f"{i} {abstracts[i % len(abstracts)]}" for i in range(len(found[::10]))]
    return found


def step(place: Path, size: int, loss: str, threads: int) -> dict[str, Any]:
    """One step of so many pairs, in this process."""
    from qianru.train import DataConfig, LossConfig, TrainConfig, train

    begun = time.process_time()
    train(TrainConfig(str(place / "model"), str(place / f"out-{size}"), (DataConfig(str(place / "pairs.jsonl")),),
                      LossConfig(loss), batch_size=size, steps=1, threads=threads))  # type: ignore[arg-type]
    return {"peak_mb": peak_rss_mb(), "cpu_s": round(time.process_time() - begun, 1)}


def main() -> None:
    """Measures every size on every kind of texts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="64,4096")
    parser.add_argument("--texts", default=",".join(KINDS))
    parser.add_argument("--loss", default="info_nce")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", type=Path)
    options = parser.parse_args()
    sizes = sorted(map(int, options.sizes.split(",")))
    if options.one:
        print(json.dumps(step(options.one, sizes[0], options.loss, options.threads)))
        return
    from checkpoints import m3e

    for kind in options.texts.split(","):
        with tempfile.TemporaryDirectory() as folder:
            place, rows = Path(folder), {}
            (place / "model").mkdir()
            m3e(place / "model", data_folder(), {})
            texts = texts_of(kind, data_folder())
            with (place / "pairs.jsonl").open("w") as file:
                for query, positive in zip(texts[::2], texts[1::2], strict=False):
                    print(json.dumps({"query": query, "positive": positive}, ensure_ascii=False), file=file)
            for size in sizes:
                command = [sys.executable, __file__, "--one", folder, "--sizes", str(size), "--loss", options.loss,
                           "--threads", str(options.threads)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                rows[size] = json.loads(done.stdout.splitlines()[-1])
                rows[size]["against_smallest"] = round(rows[size]["peak_mb"] / rows[sizes[0]]["peak_mb"], 3)
        report("gradcache", ["torch"], qianru=__version__, texts=kind, loss=options.loss, threads=options.threads,
               rows=rows)


if __name__ == "__main__":
    main()
