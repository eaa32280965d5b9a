"""A student's vectors go where its teacher's are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from checkpoints import tiny  # noqa: E402
from loss_inputs import POEMS  # noqa: E402

import qianru  # noqa: E402
from qianru.errors import BadInput, ShapeMismatch, SpecMismatch, UnknownName  # noqa: E402
from qianru.models.embedding_files import save_embeddings  # noqa: E402
from qianru.train import DataConfig, LossConfig, OptimizerConfig, TrainConfig, train  # noqa: E402
from qianru.train.data.sets import DataSet  # noqa: E402
from qianru.train.distil import DistilConfig, Distiller, StoredTeacher  # noqa: E402
from qianru.train.processes import Processes  # noqa: E402

RNG = np.random.default_rng(8)
AIMS = RNG.standard_normal((len(POEMS), 48)).astype(np.float32)


class Table:
    """A teacher of known vectors; queries get them the other way round."""

    dim, fingerprint = 48, "table"

    def vectors(self, texts: Any, role: Any) -> Any:
        rows = AIMS[[POEMS.index(text) for text in texts]]
        return rows[:, ::-1] if role == "query" else rows


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qianru.train.record.draw_curves", lambda log, path: False)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in POEMS), "utf-8")
    return path


@pytest.fixture
def config(folder: Path, texts: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(str(folder), str(tmp_path / "out"), (DataConfig(str(texts)),), LossConfig(temperature=0.05),
                       OptimizerConfig(lr=3e-3), batch_size=8, steps=30, threads=1)


def slow(config: DistilConfig, made: list[Any], texts: list[str], weight: Any = None) -> float:
    """Text by text, number by number."""
    unit = []
    for vector, text in zip(made, texts, strict=True):
        aim = AIMS[POEMS.index(text)].astype(float)
        own = vector.astype(float) if weight is None else weight @ vector
        if weight is None and config.distance != "similarities":
            aim = aim[: len(own)]
        unit.append((own / np.sqrt((own**2).sum()), aim / np.sqrt((aim**2).sum())))
    if config.distance == "cosine":
        return sum(1 - float(a @ b) for a, b in unit) / len(unit)
    if config.distance == "mse":
        return sum(float(((a - b) ** 2).sum()) / len(a) for a, b in unit) / len(unit)
    return sum(float(a @ c - b @ d) ** 2 for a, b in unit for c, d in unit) / len(unit) ** 2


@pytest.mark.parametrize("distance", ["cosine", "mse", "similarities"])
@pytest.mark.parametrize("widths", ["slice", "project"])
def test_the_distance_is_that_of_a_slow_loop(distance: str, widths: str) -> None:
    config = DistilConfig("-", distance, 1.0, widths)   # type: ignore[arg-type]
    made, distiller = RNG.standard_normal((8, 32)).astype(np.float32), Distiller(config, Table(), 32, seed=1)
    sides = [torch.from_numpy(made[:3]), torch.from_numpy(made[3:])]
    weight = None if distiller.projection is None else distiller.projection.detach().numpy()
    loss = distiller.loss(sides, [POEMS[:3], POEMS[3:]], alike=True)
    assert loss.item() == pytest.approx(slow(config, list(made), POEMS, weight), abs=1e-6)


def test_queries_are_taught_as_queries() -> None:
    distiller = Distiller(DistilConfig("-", widths="slice"), Table(), 32)
    as_teacher = [torch.from_numpy(AIMS[:3, ::-1][:, :32].copy()), torch.from_numpy(AIMS[3:, :32])]
    assert distiller.loss(as_teacher, [POEMS[:3], POEMS[3:]], alike=False).item() == pytest.approx(0, abs=1e-6)


def test_a_shared_projection_has_its_part_of_the_gradient_in_each_process() -> None:
    gradients = []
    for size in (1, 2):
        distiller = Distiller(DistilConfig("-", widths="project"), Table(), 32, processes=Processes(0, size))
        sides = [torch.ones(3, 32), torch.ones(5, 32)]
        distiller.loss(sides, [POEMS[:3], POEMS[3:]], alike=True).backward()
        gradients.append(distiller.projection.grad)
    torch.testing.assert_close(gradients[1] * 2, gradients[0])


def test_a_student_learns_its_teachers_vectors_from_texts_alone(config: TrainConfig, tmp_path: Path) -> None:
    teacher = tiny(tmp_path / "teacher", seed=5)
    made = train(replace(config, distil=DistilConfig(str(teacher))))
    aim, before, after = (qianru.load(f).encode(POEMS).dense for f in (teacher, config.model, made.folder))
    closeness = [float(np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(aim, some, strict=True)]))
                 for some in (before, after)]
    assert closeness[1] > 0.9 > 0.5 > closeness[0]


def test_a_projection_is_resumed_and_thrown_away(config: TrainConfig, texts: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "aims.npy", AIMS)
    config = replace(config, steps=6, save_every=2, distil=DistilConfig(str(tmp_path / "aims.npy"), widths="project"))
    whole = train(replace(config, output=str(tmp_path / "whole"))).folder

    def stop(step: Any) -> None:
        if step.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, on_step=stop)
    resumed = train(config, resume=True).folder
    assert (whole / "model.safetensors").read_bytes() == (resumed / "model.safetensors").read_bytes()
    assert qianru.load(whole).encode(POEMS).dense.shape == (8, 32)
    np.save(tmp_path / "aims.npy", AIMS * 2)
    with pytest.raises(SpecMismatch, match="was made with teacher"):
        train(config, resume=True)


def test_pairs_learn_their_own_loss_and_the_teachers(config: TrainConfig, texts: Path, tmp_path: Path) -> None:
    rows = [{"query": text, "pos": [POEMS[i - 1]]} for i, text in enumerate(POEMS)]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    config = replace(config, data=(DataConfig(str(pairs)),), steps=1)
    teacher = str(tiny(tmp_path / "teacher", seed=5))
    losses = []
    for i, distil in enumerate((None, DistilConfig(teacher), DistilConfig(teacher, weight=3.0))):
        train(replace(config, output=str(tmp_path / f"out{i}"), distil=distil))
        losses.append(json.loads((tmp_path / f"out{i}/run/log.jsonl").read_text().splitlines()[0])["loss"])
    assert losses[2] - losses[0] == pytest.approx(3 * (losses[1] - losses[0]), abs=1e-4)


def test_stored_vectors_are_found_by_their_texts(texts: Path, tmp_path: Path, folder: Path) -> None:
    data = DataSet(DataConfig(str(texts)))
    teacher = StoredTeacher(AIMS, data, "aims")
    np.testing.assert_array_equal(teacher.vectors([POEMS[4], POEMS[1]], "document"), AIMS[[4, 1]])
    save_embeddings(tmp_path / "aims.safetensors", qianru.load(folder).encode(POEMS, kinds=["dense"]))
    config = TrainConfig(str(folder), str(tmp_path / "out"), (data.config,), batch_size=8, steps=1, threads=1,
                         distil=DistilConfig(str(tmp_path / "aims.safetensors")))
    train(config)
    assert json.loads((tmp_path / "out/run/log.jsonl").read_text())["loss"] == pytest.approx(0, abs=1e-3)   # its own


def test_what_cannot_teach_is_refused(config: TrainConfig, tmp_path: Path, texts: Path) -> None:
    np.save(tmp_path / "aims.npy", AIMS)
    with pytest.raises(ShapeMismatch, match=r'48 dimensions, the student 32\. Say widths = "slice"'):
        train(replace(config, distil=DistilConfig(str(tmp_path / "aims.npy"))))
    np.save(tmp_path / "few.npy", AIMS[:3])
    with pytest.raises(ShapeMismatch, match=r"has the shape \(3, 48\); .* has 8 texts"):
        train(replace(config, distil=DistilConfig(str(tmp_path / "few.npy"))))
    with pytest.raises(BadInput, match="a row for each text of one set of plain texts; there are plain, plain sets"):
        train(replace(config, data=config.data * 2, distil=DistilConfig(str(tmp_path / "aims.npy"))))
    with pytest.raises(UnknownName, match="distance"):
        DistilConfig("-", "cosin")   # type: ignore[arg-type]
