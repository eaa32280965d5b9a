"""Does it learn? From a random encoder of 4 layers, 256 wide, by RetroMAE, weak pairs and judged pairs with negatives.

    python bench/learn.py -o FOLDER [--scale 1.0] [--threads 2] [--only full,"no RetroMAE"]

Every stage of every row of ROWS is trained, then judged on texts that it has not seen (CSL title -> abstract and DRCD
question -> paragraph: nDCG@10; STS-B zh: Spearman). Rows share what they have in common, and all rows take the same
steps, --scale times those of KINDS. A stage that is done is not done again; one that was stopped goes on where it was.
FOLDER/table.md and curves.png are for docs/training.md; one line of JSON for each stage is printed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common import HERE, data_folder, report

sys.path.insert(0, str(HERE.parent))

SHAPE = (4, 256)
POOLING = "mean"                 # of so small a model says more than the first token does
MAX_TOKENS = 128
COLUMNS = ("csl", "drcd", "stsb")
PLACES = ("random", "RetroMAE", "weak", "judged")     # how stages' names begin, in their order
COUNTED = 20                     # steps after which the time is written down


@dataclass(frozen=True)
class Kind:
    """How a stage trains.

    data: files below data/;  negatives: how many are mined and drawn
    start_share: of the weights that it begins with, mixed into the result
    """

    data: str
    steps: int
    batch_size: int
    lr: float
    pretrain: bool = False
    negatives: int = 0
    temperature: float = 0.05
    start_share: float = 0.0


BAG = "RetroMAE with bag of words"       # DupMAE: what a vector is compared by is learnt from the first step
TAUGHT, BARE = "judged pairs, mined negatives", "judged pairs"
KINDS = {
    BAG: Kind("texts.jsonl", 500, 64, 1e-3, pretrain=True),
    "weak pairs": Kind("weak/*.jsonl", 400, 64, 5e-4, start_share=0.5),
    "weak pairs, mixed": Kind("weak-mixed.jsonl", 400, 64, 5e-4, start_share=0.5),
    TAUGHT: Kind("strong/*.jsonl", 200, 64, 2e-4, negatives=3, start_share=0.3),
    BARE: Kind("strong/*.jsonl", 200, 64, 2e-4, start_share=0.3),
}
ROWS = {
    "full": (BAG, "weak pairs", TAUGHT),
    "no RetroMAE": ("weak pairs", TAUGHT),
    "no hard negatives": (BAG, "weak pairs", BARE),
    "batches of many sets": (BAG, "weak pairs, mixed", TAUGHT),
}


class Chain:
    """One folder in which all rows are trained."""

    def __init__(self, folder: Path, scale: float, threads: int) -> None:
        self.folder, self.scale, self.threads = folder, scale, threads
        self.data = folder / "data"
        self.judge = Judge(self.data / "judge")

    def run(self, row: str) -> list[dict[str, Any]]:
        """Trains and judges the stages of a row; the scores after each, the random model first."""
        model = self.start()
        scores = [self.scored(model, row, "random")]
        for i, stage in enumerate(ROWS[row]):
            model = self.trained(model, ROWS[row][: i + 1])
            scores.append(self.scored(model, row, stage))
        return scores

    def start(self) -> Path:
        """The random encoder."""
        from qianru.train.pretraining.create import create_encoder

        folder = self.folder / "start"
        if not (folder / "modules.json").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            vocab = data_folder() / "tokenizers/bert-base-chinese/vocab.txt"
            create_encoder(folder, vocab, *SHAPE, max_tokens=MAX_TOKENS, pooling=POOLING)
        return folder

    def trained(self, model: Path, path: tuple[str, ...]) -> Path:
        """The folder of the model after the last stage of the path, which begins with `model`."""
        from qianru.train import train

        output = self.place(path)
        if not (output / "modules.json").is_file():
            clock = Clock(output / "run" / "cpu_s.json")
            config = self.config(model, output, path[-1])
            train(config, resume=(output / "run").exists(), on_step=clock)
        return output

    def place(self, path: tuple[str, ...]) -> Path:
        """The folder of what these stages make."""
        return self.folder / " - ".join(path).replace(",", "").replace(" ", "_")

    def config(self, model: Path, output: Path, stage: str) -> Any:
        """The settings of a stage; before one with hard negatives, they are mined."""
        from qianru.train import DataConfig, LossConfig, OptimizerConfig, TrainConfig
        from qianru.train.pretraining.config import PretrainConfig

        kind = KINDS[stage]
        files = sorted(self.data.glob(kind.data)) if not kind.negatives else self.mined(model, kind)
        eps = 1e-6 if kind.pretrain else 1e-8      # BERT's: at less, all rare words drift one way by Adam's even steps
        return TrainConfig(
            str(model), str(output), tuple(DataConfig(str(file)) for file in files),
            LossConfig(temperature=kind.temperature), OptimizerConfig(lr=kind.lr, eps=eps),
            PretrainConfig("dupmae", decoder_share=0.7) if kind.pretrain else None, batch_size=kind.batch_size,
            n_negatives=kind.negatives, sampling_temperature=2.0, like_length=kind.pretrain, max_tokens=MAX_TOKENS,
            threads=self.threads, dropout=0.0, precision="bfloat16", start_share=kind.start_share,
            steps=max(round(kind.steps * self.scale), 10), save_every=50,
        )

    def mined(self, model: Path, kind: Kind) -> list[Path]:
        """The same sets with negatives that the model finds among each set's own positives, beside those it has."""
        import qianru
        from qianru.train.data.sets import DataConfig, DataSet
        from qianru.train.mine import MineConfig, mine, write_mined

        folder, files = self.folder / "mined" / model.name, []
        loaded = qianru.load(model)
        for file in sorted(self.data.glob(kind.data)):
            files.append(folder / file.name)
            if not files[-1].is_file():
                folder.mkdir(parents=True, exist_ok=True)
                data = DataSet(DataConfig(str(file)))
                rows: list[Any] = [data[i] for i in range(len(data))]
                texts = list(dict.fromkeys(text for row in rows for text in row.positives))
                how = MineConfig(first=5, last=1000, n=kind.negatives, choose="nearest")
                made, told = mine(rows, texts, loaded, how)
                report("learn, mined", ["qianru"], set=file.stem, queries=told.n_queries, kept=told.n_kept,
                       without=told.n_none, likely_right=told.n_likely_right,
                       advice=told.advice(how.first, how.last, how.margin, len(texts)))
                write_mined(files[-1], [
                    replace(new, negatives=tuple(dict.fromkeys((*old.negatives, *new.negatives)))[:8])
                    for old, new in zip(rows, made, strict=True)
                ])
        return files

    def scored(self, model: Path, row: str, stage: str) -> dict[str, Any]:
        """The scores of a model, kept beside it."""
        import qianru

        held = model / "scores.json"
        if not held.is_file():
            held.write_text(json.dumps(dict(self.judge(qianru.load(model)))))
        cpu_s = Clock.read(model / "run/cpu_s.json")
        return {"row": row, "stage": stage, **json.loads(held.read_text()), "cpu_s": cpu_s}

    def known(self) -> list[dict[str, Any]]:
        """The scores of all rows as far as they are there."""
        found: list[dict[str, Any]] = []
        for row, stages in ROWS.items():
            for i, stage in enumerate(("random", *stages)):
                folder = self.place(stages[:i]) if i else self.folder / "start"
                if (folder / "scores.json").is_file():
                    found.append(self.scored(folder, row, stage))
        return found


class Clock:
    """Adds up the processor's time of a stage, over all times that it was stopped and went on."""

    def __init__(self, path: Path) -> None:
        self.path, self.before, self.since = path, Clock.read(path) or 0, time.process_time()

    def __call__(self, step: Any) -> None:
        """After every step; what was done since the last checkpoint but one is counted twice after a stop."""
        if step.step % COUNTED == 0 or step.step == step.n_steps:
            self.path.write_text(json.dumps(self.before + time.process_time() - self.since))

    @staticmethod
    def read(path: Path) -> int | None:
        """Seconds so far; None if nothing has been written."""
        return round(json.loads(path.read_text())) if path.is_file() else None


class Judge:
    """The three scores of a model."""

    def __init__(self, folder: Path) -> None:
        from qianru.train.data.sets import DataConfig, DataSet
        from qianru.train.heldout import HeldOut

        self.sets = {name: HeldOut(DataSet(DataConfig(str(folder / f"{name}.jsonl")))) for name in COLUMNS}

    def __call__(self, model: Any) -> Mapping[str, float]:
        return {name: round(next(iter(held(model).values())), 4) for name, held in self.sets.items()}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    head = ("| row | after | CSL nDCG@10 | DRCD nDCG@10 | STS-B zh Spearman | CPU seconds |\n"
            "|---|---|---:|---:|---:|---:|\n")
    return head + "".join(f"| {row['row']} | {row['stage']} | " + " | ".join(f"{row[c]:.4f}" for c in COLUMNS)
                          + f" | {row['cpu_s'] or ''} |\n" for row in rows)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """The scores of each row over its stages."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    for axes, column in zip(figure.subplots(1, len(COLUMNS)), COLUMNS, strict=True):
        for name in dict.fromkeys(row["row"] for row in rows):
            own = [row for row in rows if row["row"] == name]
            where = [next(i for i, begin in enumerate(PLACES) if row["stage"].startswith(begin)) for row in own]
            axes.plot(where, [row[column] for row in own], "o-", label=name)
        axes.set_title({"csl": "CSL, nDCG@10", "drcd": "DRCD, nDCG@10", "stsb": "STS-B zh, Spearman"}[column])
        axes.set_xticks(range(4), PLACES)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=72)


def main() -> None:
    from learn_data import prepare

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--scale", type=float, default=1.0, help="of the steps of all stages")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default=",".join(ROWS), help="rows, by name")
    args = parser.parse_args()
    counts = prepare(data_folder(), args.output / "data")
    chain = Chain(args.output, args.scale, args.threads)
    for name in args.only.split(","):
        for scores in chain.run(name):
            report("learn", ["torch", "qianru"], **scores)
            rows = chain.known()
            (args.output / "table.md").write_text(table(rows))
            draw(rows, args.output / "curves.png")
    print(json.dumps({"rows of data": counts}, ensure_ascii=False))


if __name__ == "__main__":
    main()
