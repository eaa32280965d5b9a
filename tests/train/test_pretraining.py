"""Hidden words, and whole texts from one vector: each loss beside a slow loop over the same numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from loss_inputs import POEMS  # noqa: E402
from torch.nn.functional import gelu, layer_norm, linear  # noqa: E402

import qianru  # noqa: E402
from qianru.errors import BadInput, UnknownName  # noqa: E402
from qianru.runtime.packing import pack  # noqa: E402
from qianru.train import DataConfig, OptimizerConfig, TrainConfig, train  # noqa: E402
from qianru.train.data.sampler import Draw  # noqa: E402
from qianru.train.data.sets import DataSet  # noqa: E402
from qianru.train.losses.masked import bag_of_words, guessed, guessed_by_words  # noqa: E402
from qianru.train.pretraining.candidates import Candidates  # noqa: E402
from qianru.train.pretraining.config import PretrainConfig  # noqa: E402
from qianru.train.pretraining.create import create_encoder  # noqa: E402
from qianru.train.pretraining.masking import Masker  # noqa: E402
from qianru.train.pretraining.stage import PretrainStage  # noqa: E402
from qianru.train.start import own_weights  # noqa: E402

LETTERS = dict.fromkeys("".join(POEMS) + "天安门广场在北京，。")
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, "em", "##bed"]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A new encoder of one layer, 64 wide."""
    (tmp_path / "vocab.txt").write_text("\n".join(VOCAB) + "\n", "utf-8")
    return create_encoder(tmp_path / "new", tmp_path / "vocab.txt", 1, 64, max_tokens=64)


@pytest.fixture
def encoder(made: Path) -> Any:
    from qianru.models.transformer import Transformer
    from qianru.runtime.options import Runtime

    model = Transformer.load(made, Runtime(precision="float32", threads=1), packed=False)
    own_weights(model.network)
    torch.manual_seed(3)
    for parameter in model.network.parameters():     # far from their beginning, so that every part matters
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.fixture
def texts(tmp_path: Path) -> DataSet:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in POEMS), "utf-8")
    return DataSet(DataConfig(str(path)))


# --- hiding


def test_whole_words_are_hidden_never_half_of_one(encoder: Any) -> None:
    text, words = "天安门广场在北京", [{1, 2, 3}, {4, 5}, {6}, {7, 8}]      # jieba's words, by their places
    masker, seen = Masker(encoder.tokenizer, 0.3), set()
    for seed in range(40):
        row = masker.rows([text], np.random.default_rng(seed))[0]
        hidden = set(row.hidden.tolist())
        assert all(word <= hidden or not word & hidden for word in words)
        seen |= {frozenset(word) for word in words if word <= hidden}
    assert len(seen) == 4


def test_a_word_in_pieces_is_hidden_as_one(encoder: Any) -> None:
    for seed in range(20):
        row = Masker(encoder.tokenizer, 0.3).rows(["embed 床"], np.random.default_rng(seed))[0]
        assert set(row.hidden.tolist()) in ({1, 2}, {3})


def test_80_percent_become_mask_10_another_and_10_stay(encoder: Any) -> None:
    rows = Masker(encoder.tokenizer, 0.3, words=False).rows(POEMS * 250, np.random.default_rng(0))
    shown = np.concatenate([row.shown[row.hidden] for row in rows])
    right = np.concatenate([row.ids[row.hidden] for row in rows])
    n_own = sum(len(row.own) for row in rows)
    assert len(right) / n_own == pytest.approx(0.3, abs=0.03)
    assert (shown == VOCAB.index("[MASK]")).mean() == pytest.approx(0.8, abs=0.03)
    assert (shown == right).mean() == pytest.approx(0.1, abs=0.03)


def test_special_tokens_are_never_hidden(encoder: Any) -> None:
    for row in Masker(encoder.tokenizer, 0.9).rows(POEMS, np.random.default_rng(0)):
        assert row.hidden.min() > 0
        assert row.hidden.max() < len(row.ids) - 1
        np.testing.assert_array_equal(np.delete(row.shown, row.hidden), np.delete(row.ids, row.hidden))


# --- losses


def test_guessed_tokens_cost_what_they_surprise() -> None:
    assert guessed(torch.zeros(3, 5), torch.tensor([0, 1, 4])).item() == pytest.approx(3 * log(5))


@pytest.mark.parametrize(("bfloat16", "atol"), [(False, 1e-5), (True, 2e-2)])
def test_guesses_chunk_by_chunk_cost_and_teach_what_they_do_at_once(
    bfloat16: bool, atol: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qianru.train.losses.masked.CHUNK", 3)         # 7 states in chunks of 3, 3 and 1
    torch.manual_seed(0)
    made = [torch.randn(size, requires_grad=True) for size in ((7, 8), (11, 8), (11,))]
    ids, results = torch.tensor([0, 10, 3, 3, 5, 1, 2]), []
    for loss in (lambda: guessed(made[0] @ made[1].T + made[2], ids),
                 lambda: guessed_by_words(*made, ids, bfloat16=bfloat16)):
        results.append((loss(), *torch.autograd.grad(loss() / 7, made)))
    for slow, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow, rtol=atol, atol=atol)


def test_the_bag_of_words_is_one_softmax_for_all_tokens_of_a_text() -> None:
    reached = torch.randn(2, 5, dtype=torch.float64)
    slow = 0.0
    for row, terms in ((0, [1, 3]), (1, [0, 2, 4])):
        for term in terms:
            slow -= (reached[row, term] - reached[row].exp().sum().log()).item() / len(terms)
    made = bag_of_words(reached, torch.tensor([0, 0, 1, 1, 1]), torch.tensor([1, 3, 0, 2, 4]),
                        torch.tensor([1 / 2] * 2 + [1 / 3] * 3))
    assert made.item() == pytest.approx(slow, abs=1e-6)


def stage_of(task: str, encoder: Any, texts: DataSet, **options: Any) -> PretrainStage:
    return PretrainStage(PretrainConfig(task, **options), encoder, [texts], 1)   # type: ignore[arg-type]


def head(module: Any, state: Any, words: Any) -> Any:
    state = layer_norm(gelu(linear(state, module.weight, module.bias)), (64,), module.norm_weight, module.norm_bias,
                       module.eps)
    return (words @ state + module.word_bias).log_softmax(0)


SEEDS = [[5, 0], [5, 1], [5, 2]]


ALL = Candidates.drawn([np.arange(len(VOCAB))], len(VOCAB), 1, np.random.default_rng(0))


def slow_loss(stage: PretrainStage, rows: list[Any]) -> Any:
    """Text by text, place by place, among all words. The texts must come longest first, as they are packed."""
    backbone, words, parts = stage.backbone, stage.backbone.words, stage.module
    mlm, decoded, bag = [], [], []
    drawn = [np.random.default_rng(seed).random((len(row.ids),) * 2) for seed, row in zip(SEEDS, rows, strict=True)]
    for row, chance in zip(rows, drawn, strict=True):
        states, length = backbone(pack([row.shown])), len(row.ids)
        mlm += [-head(parts["tokens"], states[i], words)[row.ids[i]] for i in row.hidden]
        if stage.config.task == "mlm":
            continue
        added = backbone.positions[:length] + backbone.types[0]
        vector = states.mean(0) if stage.pooling == ("mean",) else states[0]
        keys = [vector, *backbone.norm(words[torch.from_numpy(row.ids)] + added)[1:]]
        decoder = parts["decoder"]
        for i in row.own:
            seen = [0] + [j for j in range(1, length) if j != i and chance[i, j] >= stage.config.decoder_share]
            query = backbone.norm(vector + added[i])
            visible = torch.stack([keys[j] for j in seen])
            q = linear(query, decoder.query, decoder.query_bias)
            k, v = (linear(visible, getattr(decoder, n), getattr(decoder, f"{n}_bias")) for n in ("key", "value"))
            mixed = ((k @ q) / 8).softmax(0) @ v                                   # one head of 64
            state = layer_norm(query + linear(mixed, decoder.out, decoder.out_bias), (64,), decoder.attention_norm,
                               decoder.attention_norm_bias, decoder.eps)
            inner = linear(gelu(linear(state, decoder.up, decoder.up_bias)), decoder.down, decoder.down_bias)
            state = layer_norm(state + inner, (64,), decoder.output_norm, decoder.output_norm_bias, decoder.eps)
            decoded.append(-head(parts["tokens"], state, words)[row.ids[i]])
        if stage.config.task == "dupmae":
            module = parts["bag"]
            if stage.pooling == ("mean",):
                logits = module.log_scale.exp() * words @ vector / vector.norm() + module.word_bias
            else:
                logits = torch.stack([linear(layer_norm(gelu(linear(s, module.weight, module.bias)), (64,),
                                                        module.norm_weight, module.norm_bias, module.eps), words,
                                             module.word_bias) for s in states[1:]]).amax(0)
            logits = logits.log_softmax(0)
            bag.append(-logits[np.unique(row.ids[row.own])].mean())
    return sum(torch.stack(part).mean() for part in (mlm, decoded, bag) if part)


@pytest.mark.parametrize(("task", "pooling"), [("mlm", "cls"), ("retromae", "cls"), ("retromae", "mean"),
                                               ("dupmae", "cls"), ("dupmae", "mean")])
def test_the_loss_and_its_gradient_are_those_of_a_slow_loop(
    task: str, pooling: str, encoder: Any, texts: DataSet
) -> None:
    encoder.recipe = replace(encoder.recipe, pooling=(pooling,))
    stage = stage_of(task, encoder, texts)
    rows = stage.masker.rows(["思故乡我低头望明月", "床前明月", "地上霜"], np.random.default_rng(0))
    sizes = [sum(len(getattr(row, name)) for row in rows) for name in ("hidden", "own")]
    results = []
    for run in (lambda: stage._loss(rows, ALL, *sizes, 3, SEEDS), lambda: slow_loss(stage, rows)):
        stage.module.zero_grad(set_to_none=True)
        loss = run()
        loss.backward()
        results.append((loss.item(), {n: p.grad for n, p in stage.module.named_parameters() if p.grad is not None}))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-5)
    assert results[0][1].keys() == results[1][1].keys()
    for name, gradient in results[0][1].items():
        torch.testing.assert_close(gradient, results[1][1][name], rtol=1e-4, atol=1e-5,
                                   msg=lambda m, n=name: f"{n} {m}")


def test_sampled_words_stand_for_those_that_are_not_drawn() -> None:
    among = Candidates.drawn([np.array([3, 1]), np.array([3])], 12, 4, np.random.default_rng(0))
    drawn = among.ids[2:].tolist()
    assert among.ids[:2].tolist() == [1, 3]                                      # the batch's own, each for itself
    assert len(set(drawn) - {1, 3}) == 4
    torch.manual_seed(0)
    state, table, bias = torch.randn(1, 8), torch.randn(12, 8), torch.randn(12)
    logits = (table @ state[0] + bias).double()
    slow = (logits[[1, 3]].exp().sum() + logits[drawn].exp().sum() * 10 / 4).log() - logits[3]
    fast = guessed_by_words(state, among.words(table), among.bias(bias), among.column[torch.tensor([3])])
    assert fast.item() == pytest.approx(slow.item(), abs=1e-5)


def test_the_sum_over_drawn_words_is_on_average_that_over_all() -> None:
    weights, rng = torch.rand(12).exp(), np.random.default_rng(0)
    sums = []
    for _ in range(2000):
        among = Candidates.drawn([np.array([3, 1])], 12, 4, rng)
        sums.append((weights[among.ids] * among.added.exp()).sum().item())
    assert np.mean(sums) == pytest.approx(weights.sum().item(), rel=0.01)


def test_with_as_many_others_as_there_are_a_token_is_guessed_among_all_words(encoder: Any, texts: DataSet) -> None:
    stage = stage_of("dupmae", encoder, texts)
    drawn = Candidates.drawn([np.arange(5)], len(VOCAB), len(VOCAB), np.random.default_rng(0))
    rows = stage.masker.rows(["思故乡我低头望明月", "床前明月", "地上霜"], np.random.default_rng(0))
    assert sorted(drawn.ids.tolist()) == list(range(len(VOCAB)))
    made = [stage._loss(rows, among, 5, 16, 3, SEEDS).item() for among in (drawn, ALL)]
    assert made[0] == pytest.approx(made[1], rel=1e-5)


def test_a_batch_in_parts_has_the_gradient_of_the_whole(
    encoder: Any, texts: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, results = stage_of("mlm", encoder, texts), []
    for at_once in (1024, 12):
        monkeypatch.setattr("qianru.train.pretraining.stage.AT_ONCE", at_once)
        stage.module.zero_grad(set_to_none=True)
        results.append((*stage.backward(Draw(0, np.arange(8), 1), 0, 1.0), encoder.network.backbone.words.grad.clone()))
    assert results[0][:2] == pytest.approx(results[1][:2])
    torch.testing.assert_close(results[0][2], results[1][2])


def test_guessing_begins_with_how_often_tokens_stand_in_the_texts(encoder: Any, texts: DataSet) -> None:
    stage = stage_of("dupmae", encoder, texts)
    counts = np.ones(len(VOCAB))
    for letter in "".join(POEMS):
        counts[VOCAB.index(letter)] += 1
    for name in ("tokens", "bag"):
        np.testing.assert_allclose(stage.module[name].word_bias.detach(), np.log(counts / counts.sum()), atol=1e-6)


# --- the whole way


def test_pre_training_learns_and_resumes_and_leaves_a_model(made: Path, texts: DataSet, tmp_path: Path) -> None:
    config = TrainConfig(str(made), str(tmp_path / "out"), (texts.config,), pretrain=PretrainConfig("retromae"),
                         optimizer=OptimizerConfig(lr=3e-3), batch_size=8, steps=8, threads=1, save_every=3)
    whole = train(replace(config, output=str(tmp_path / "whole"))).folder

    def stop(step: Any) -> None:
        if step.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, on_step=stop)
    resumed = train(config, resume=True).folder
    logs = [[json.loads(line)["loss"] for line in (f / "run/log.jsonl").read_text().splitlines()]
            for f in (whole, resumed)]
    assert logs[0] == logs[1]
    assert logs[0][-1] < 0.97 * logs[0][0]
    assert (whole / "model.safetensors").read_bytes() == (resumed / "model.safetensors").read_bytes()
    assert qianru.load(resumed).encode(POEMS).dense.shape == (8, 64)


def test_a_new_model_is_the_same_for_the_same_seed_and_refuses_what_cannot_be(made: Path, tmp_path: Path) -> None:
    again = create_encoder(tmp_path / "again", tmp_path / "vocab.txt", 1, 64, max_tokens=64)
    assert (made / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()
    with pytest.raises(BadInput, match="a width that 64 divides"):
        create_encoder(tmp_path / "odd", tmp_path / "vocab.txt", 4, 100)
    with pytest.raises(BadInput, match="is not empty"):
        create_encoder(made, tmp_path / "vocab.txt", 1, 64)
    with pytest.raises(UnknownName, match="Did you mean 'retromae'"):
        PretrainConfig("retromea")   # type: ignore[arg-type]


def test_a_decoder_is_not_pre_trained_by_hidden_tokens(tmp_path: Path, texts: DataSet) -> None:
    from decoder_checkpoints import tiny_decoder

    config = TrainConfig(str(tiny_decoder(tmp_path / "d")), str(tmp_path / "out"), (texts.config,),
                         pretrain=PretrainConfig())
    with pytest.raises(BadInput, match="is no encoder"):
        train(config)
