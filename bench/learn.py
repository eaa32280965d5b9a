"""Does it learn? From a random encoder of 4 layers, 256 wide, by RetroMAE, weak pairs and judged pairs with negatives.

    python bench/learn.py -o FOLDER [--minutes 55] [--threads 2] [--only full,"no RetroMAE"]

Every stage of every row of ROWS is trained, then judged on texts that it has not seen (CSL title -> abstract and DRCD
question -> paragraph: nDCG@10; STS-B zh: Spearman). Rows share what they have in common. Each kind of stage gets a
share of the minutes; a few steps, timed once, say how many that is, and all rows take the same number. A stage that is
done is not done again; one that was stopped goes on where it was. FOLDER/table.md and curves.png are for
docs/training.md; one line of JSON for each stage is printed.
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
MAX_TOKENS = 128
N_TIMED = 8                      # steps before a stage's number of steps is settled; the first two are not counted
COLUMNS = ("csl", "drcd", "stsb")


@dataclass(frozen=True)
class Kind:
    """How a stage trains. data: files below data/;  units: its share of the time;  negatives: whether they are mined"""

    data: str
    units: float
    batch_size: int
    lr: float
    pretrain: bool = False
    negatives: int = 0
    temperature: float = 0.05


KINDS = {
    "RetroMAE": Kind("texts.jsonl", 12, 64, 5e-4, pretrain=True),
    "weak pairs": Kind("weak/*.jsonl", 8, 128, 5e-4),
    "weak pairs, mixed": Kind("weak-mixed.jsonl", 8, 128, 5e-4),
    "judged pairs, mined negatives": Kind("strong/*.jsonl", 5, 64, 2e-4, negatives=3),
    "judged pairs": Kind("strong/*.jsonl", 5, 64, 2e-4),
}
TAUGHT, BARE = "judged pairs, mined negatives", "judged pairs"
ROWS = {
    "full": ("RetroMAE", "weak pairs", TAUGHT),
    "no RetroMAE": ("weak pairs", TAUGHT),
    "no hard negatives": ("RetroMAE", "weak pairs", BARE),
    "batches of many sets": ("RetroMAE", "weak pairs, mixed", TAUGHT),
}
SAME_STEPS = {"weak pairs, mixed": "weak pairs", BARE: TAUGHT}     # a comparison is of equal steps


class Chain:
    """One folder in which all rows are trained."""

    def __init__(self, folder: Path, minutes: float, threads: int) -> None:
        self.folder, self.threads = folder, threads
        self.data = folder / "data"
        paths = {stages[: i + 1] for stages in ROWS.values() for i in range(len(stages))}
        self.unit_s = minutes * 60 / sum(KINDS[path[-1]].units for path in paths)
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
            create_encoder(folder, vocab, *SHAPE, max_tokens=MAX_TOKENS)
        return folder

    def trained(self, model: Path, path: tuple[str, ...]) -> Path:
        """The folder of the model after the last stage of the path, which begins with `model`."""
        from qianru.train import train

        output = self.folder / " - ".join(path).replace(",", "").replace(" ", "_")
        if not (output / "modules.json").is_file():
            config = self.config(model, output, path[-1])
            train(config, resume=(output / "run").exists())
        return output

    def config(self, model: Path, output: Path, stage: str) -> Any:
        """The settings of a stage; its number of steps is timed once and kept."""
        from qianru.train import DataConfig, LossConfig, OptimizerConfig, TrainConfig
        from qianru.train.pretraining.config import PretrainConfig

        kind = KINDS[stage]
        files = sorted(self.data.glob(kind.data)) if not kind.negatives else self.mined(model, kind)
        config = TrainConfig(
            str(model), str(output), tuple(DataConfig(str(file)) for file in files),
            LossConfig(temperature=kind.temperature), OptimizerConfig(lr=kind.lr),
            PretrainConfig() if kind.pretrain else None, batch_size=kind.batch_size, n_negatives=kind.negatives,
            sampling_temperature=2.0, max_tokens=MAX_TOKENS, threads=self.threads,
            dropout=0.0 if kind.pretrain else 0.1,
        )
        return replace(config, steps=self.steps(config, SAME_STEPS.get(stage, stage)), save_every=200)

    def steps(self, config: Any, stage: str) -> int:
        """As many as fit into the stage's time."""
        from qianru.train import train

        held = self.folder / "steps.json"
        known = json.loads(held.read_text()) if held.is_file() else {}
        if stage not in known:
            times: list[float] = []
            place = self.folder / "timing"
            shutil.rmtree(place, ignore_errors=True)
            train(replace(config, output=str(place), steps=N_TIMED, save_every=N_TIMED),
                  on_step=lambda step: times.append(time.perf_counter()))
            shutil.rmtree(place)
            each = (times[-1] - times[1]) / (len(times) - 2)
            known[stage] = max(int(self.unit_s * KINDS[stage].units / each), 10)
            held.write_text(json.dumps(known, indent=2))
        return int(known[stage])

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
                made, _ = mine(rows, [text for row in rows for text in row.positives], loaded,
                               MineConfig(first=5, last=100, n=kind.negatives))
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
        return {"row": row, "stage": stage, **json.loads(held.read_text())}


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
    head = "| row | after | CSL nDCG@10 | DRCD nDCG@10 | STS-B zh Spearman |\n|---|---|---:|---:|---:|\n"
    return head + "".join(f"| {row['row']} | {row['stage']} | " + " | ".join(f"{row[c]:.4f}" for c in COLUMNS) + " |\n"
                          for row in rows)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """The scores of each row over its stages."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    for axes, column in zip(figure.subplots(1, len(COLUMNS)), COLUMNS, strict=True):
        for name in dict.fromkeys(row["row"] for row in rows):
            own = [row for row in rows if row["row"] == name]
            where = [3 - (len(own) - 1 - i) if i else 0 for i in range(len(own))]      # all end at the last stage
            axes.plot(where, [row[column] for row in own], "o-", label=name)
        axes.set_title(column)
        axes.set_xticks(range(4), ["random", "RetroMAE", "weak", "judged"])
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=100)


def main() -> None:
    from learn_data import prepare

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=55.0, help="of training, all rows together")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default=",".join(ROWS), help="rows, by name")
    args = parser.parse_args()
    counts = prepare(data_folder(), args.output / "data")
    chain = Chain(args.output, args.minutes, args.threads)
    begun, rows = time.perf_counter(), []
    for name in args.only.split(","):
        for scores in chain.run(name):
            rows.append(scores)
            report("learn", ["torch", "qianru"], **scores, minutes=round((time.perf_counter() - begun) / 60, 1))
    (args.output / "table.md").write_text(table(rows))
    draw(rows, args.output / "curves.png")
    print(json.dumps({"rows of data": counts}, ensure_ascii=False))


if __name__ == "__main__":
    main()
