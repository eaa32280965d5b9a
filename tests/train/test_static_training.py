"""Static tables learn by the loop that transformers learn by: from pairs to a folder, the same to the last bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("torch")

import torch

from qianru.errors import BadFile, BadInput, UnknownName
from qianru.models import load
from qianru.models.base import Model
from qianru.models.static import StaticModel
from qianru.train import DataConfig, LossConfig, OptimizerConfig, TrainConfig, train
from qianru.train.loop import Step
from qianru.train.static import StaticNetwork, quantized
from qianru.train.static_config import StaticConfig
from qianru.train.static_even import Evening
from qianru.train.static_vocabulary import characters_of, learn_vocabulary, read_frequencies
from qianru.train.word2vec_config import Word2VecConfig
from qianru.types import SparseRows

PAIRS = [
    ("房东要卖掉房子", "出租人出卖租赁房屋"), ("房客没有交房租", "承租人未支付租金"),
    ("捡到别人的钱包", "拾得遗失物应当返还"), ("番茄炒蛋怎么做", "西红柿炒鸡蛋的做法"),
    ("马铃薯切成细丝", "土豆洗净切丝"), ("孩子归谁抚养", "未成年子女的抚养权"),
    ("狗咬伤了人", "饲养的动物造成他人损害"), ("楼上扔东西", "从建筑物中抛掷物品"),
    ("借钱要付利息", "借款的利率不得违反规定"), ("凤爪煮熟去骨", "鸡爪放进锅里煮"),
]


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"query": a, "pos": [b]}, ensure_ascii=False) + "\n" for a, b in PAIRS), "utf-8")
    return TrainConfig(
        "static", str(tmp_path / "mine"), (DataConfig(str(path)),), batch_size=10, steps=30, threads=1, dropout=0.1,
        static=StaticConfig(dim=16, min_count=1, even=0.1), loss=LossConfig(temperature=0.1, nested_dims=(16, 8)),
        optimizer=OptimizerConfig(lr=0.02), save_every=5,
    )


def similarity(folder: str, a: str, b: str) -> float:
    dense = load(folder).encode([a, b]).dense
    assert dense is not None
    return float(dense[0] @ dense[1])


def test_texts_that_stand_in_pairs_become_alike(config: TrainConfig) -> None:
    train(config)
    assert similarity(config.output, "马铃薯", "土豆") > similarity(config.output, "马铃薯", "遗失物") + 0.2
    for i, (question, answer) in enumerate(PAIRS):
        assert similarity(config.output, question, answer) > similarity(config.output, question, PAIRS[i - 1][1]) + 0.3


def test_the_same_seed_gives_the_same_files(config: TrainConfig, tmp_path: Path) -> None:
    train(replace(config, output=str(tmp_path / "a" / "mine")))
    train(replace(config, output=str(tmp_path / "b" / "mine")))
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "a" / "mine" / name).read_bytes() == (tmp_path / "b" / "mine" / name).read_bytes()


def test_a_stopped_training_goes_on_to_the_same_table(config: TrainConfig, tmp_path: Path) -> None:
    whole, parts = replace(config, output=str(tmp_path / "w" / "m")), replace(config, output=str(tmp_path / "p" / "m"))
    train(whole)

    def stop(step: Step) -> None:
        if step.step == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(parts, on_step=stop)
    train(parts, resume=True)
    assert load(whole.output).spec.fingerprint == load(parts.output).spec.fingerprint


def test_a_table_is_trained_further(config: TrainConfig, tmp_path: Path) -> None:
    train(config)
    before = similarity(config.output, "房东", "出租人")
    train(replace(config, model=config.output, output=str(tmp_path / "more"), static=None))
    assert similarity(str(tmp_path / "more"), "房东", "出租人") > before


def test_what_is_written_is_read_by_model2vec_too(config: TrainConfig) -> None:
    import model2vec

    train(config)
    texts = ["房东要卖掉房子", "番茄炒蛋", "potato 2026", ""]
    mine = load(config.output).encode(texts).dense
    theirs = model2vec.StaticModel.from_pretrained(config.output).encode(texts, max_length=None)
    assert_allclose(mine, theirs, atol=1e-5)


def test_a_model_is_called_as_its_folder_and_told_in_its_card(config: TrainConfig) -> None:
    train(config)
    assert load(config.output).spec.name == "mine"
    assert "16 dimensions, texts of any length" in (Path(config.output) / "README.md").read_text("utf-8")


def test_traditional_characters_are_read_as_simplified_ones(config: TrainConfig) -> None:
    train(config)
    assert similarity(config.output, "雞爪放進鍋裡煮", "鸡爪放进锅里煮") == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("unfit", [{"add_heads": True}, {"start_share": 0.5}, {"max_tokens": 8},
                                   {"precision": "bfloat16"}])
def test_what_a_table_has_no_use_for_is_refused(config: TrainConfig, unfit: dict[str, object]) -> None:
    with pytest.raises(BadInput, match="static table is trained without"):
        train(replace(config, **unfit))   # type: ignore[arg-type]


def test_a_table_that_is_there_is_not_drawn_up_anew(config: TrainConfig, tmp_path: Path) -> None:
    train(config)
    with pytest.raises(BadInput, match="is one already"):
        train(replace(config, model=config.output, output=str(tmp_path / "more")))


def test_a_wrong_choice_is_named() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'random'"):
        StaticConfig(start="rondom")   # type: ignore[arg-type]


def test_a_words_vector_is_its_own_row_and_a_share_of_its_characters() -> None:
    rows = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])     # unknown, 土, 豆, 土豆
    network = StaticNetwork(rows, torch.tensor([0.0, 1.0, 1.0, 0.5]), [[], [], [], [1, 2]], 0.4)
    word = 0.5 * (np.array([2.0, 2.0]) + 0.4 * np.array([0.5, 0.5]))
    assert_allclose(network.table(), [[0, 0], [1, 0], [0, 1], word], atol=1e-7)
    text = SparseRows.from_rows([{1: 2.0, 3: 1.0}, {}, {3: 2.0}], 4)
    assert_allclose(network(text).detach(), [np.array([2, 0]) + word, [0, 0], 2 * word], atol=1e-6)


def test_directions_in_which_many_texts_lie_come_to_weigh_less() -> None:
    texts = SparseRows.from_rows([{0: 1.0}, {0: 3.0}, {0: 1.0}, {0: 1.0}, {1: 1.0}, {}], 2)   # four along 0
    table = np.array([[2.0, 0.0], [0.0, 1.0]], np.float32)
    assert_allclose(Evening(0.5, texts)(table), [[2, 0], [0, 2]], atol=1e-6)                  # (1/4) ** -0.5 = 2
    assert_allclose(Evening(0.25, texts)(table), [[2, 0], [0, 2**0.5]], atol=1e-6)


def test_at_one_half_texts_lie_alike_in_all_directions() -> None:
    rng = np.random.default_rng(1)
    table = (rng.standard_normal((30, 4)) * [5, 1, 1, 0.2]).astype(np.float32)
    texts = SparseRows.from_rows([{int(term): 1.0 for term in rng.choice(30, 3)} for _ in range(500)], 30)
    before, after = (np.array([sum(rows[term] for term in terms) for terms, _ in texts])
                     for rows in (table, Evening(0.5, texts)(table)))
    unit = after / np.linalg.norm(before, axis=1, keepdims=True)
    squares = unit.T @ unit
    assert_allclose(squares, squares[0, 0] * np.eye(4), atol=1e-3 * squares[0, 0])


def test_a_table_of_texts_in_few_directions_is_not_blown_up() -> None:
    texts = SparseRows.from_rows([{0: 1.0}, {}], 2)
    assert np.abs(Evening(0.5, texts)(np.eye(2, 3, dtype=np.float32))).max() <= 1e3
    assert not Evening(0.5, texts)(np.zeros((2, 3), np.float32)).any()


def test_what_is_judged_is_evened_out_as_what_is_written(config: TrainConfig, tmp_path: Path) -> None:
    judged: list[str] = []

    def judge(model: Model) -> dict[str, float]:
        judged.append(model.spec.fingerprint)
        return {"later is better": float(len(judged))}

    train(config, evaluate=judge)
    assert load(config.output).spec.fingerprint == judged[-1]
    assert config.static
    plain = replace(config, static=replace(config.static, even=0.0), output=str(tmp_path / "plain" / "mine"))
    train(plain)
    assert load(plain.output).spec.fingerprint != judged[-1]


@pytest.mark.parametrize("even", [-0.1, 0.6])
def test_more_than_whitening_is_refused(even: float) -> None:
    with pytest.raises(BadInput, match="whitening"):
        StaticConfig(even=even)


def test_int8_is_off_by_half_a_step_at_most() -> None:
    table = np.random.default_rng(1).standard_normal((50, 16)).astype(np.float32)
    table[3] = 0
    numbers, scales = quantized(table)
    assert numbers.dtype == np.int8
    assert np.abs(numbers * scales[:, None] - table).max() <= scales.max() / 2 + 1e-7
    assert not numbers[3].any()


def test_a_text_is_cut_into_the_most_probable_words() -> None:
    texts = ["土豆", "土豆", "土豆丝", "酸辣土豆丝", "potato potato", "2026年"]
    vocabulary = learn_vocabulary(texts, StaticConfig(min_count=2))
    assert "土豆" in vocabulary.tokens
    assert "potato" in vocabulary.tokens
    assert "酸辣" not in vocabulary.tokens      # once only: read as its characters
    model = StaticModel(np.zeros((len(vocabulary.tokens), 2), np.float32), vocabulary.tokenizer())
    rows, _ = model.counts(["酸辣土豆，POTATO 土豆"])
    found = {vocabulary.tokens[term]: int(n) for term, n in zip(*rows.row(0), strict=True)}
    assert found == {"酸": 1, "辣": 1, "土豆": 2, "potato": 1}


def test_only_words_have_characters() -> None:
    assert characters_of(["[UNK]", "土", "豆", "土豆", "po"]) == [[], [], [], [1, 2], []]


def test_a_word_list_says_how_frequent_words_are_at_large(tmp_path: Path) -> None:
    path = tmp_path / "dict.txt"
    path.write_text("土豆 300 n\n马铃薯 100\nAT&T 3 nz\n", "utf-8")
    assert dict(read_frequencies(path)) == {"土豆": 300, "马铃薯": 100}
    vocabulary = learn_vocabulary(["土豆 马铃薯 马铃薯 马铃薯"], StaticConfig(min_count=1, word_list=str(path)))
    share = dict(zip(vocabulary.tokens, vocabulary.shares.tolist(), strict=True))
    assert_array_equal([share["土豆"], share["马铃薯"]], [(0.25 + 0.75) / 2, (0.75 + 0.25) / 2])


def test_a_damaged_word_list_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "dict.txt").write_text("土豆 300\n马铃薯\n", "utf-8")
    with pytest.raises(BadFile, match="line 2"):
        read_frequencies(tmp_path / "dict.txt")


def test_texts_without_a_word_make_no_vocabulary() -> None:
    with pytest.raises(BadInput, match="hold no word"):
        learn_vocabulary(["……", ""], StaticConfig())


def test_word2vec_is_learnt_through_the_same_command(config: TrainConfig) -> None:
    pytest.importorskip("gensim")
    made = train(replace(config, model="word2vec", static=None, steps=None, hold_out=0.0,
                         word2vec=Word2VecConfig(dim=8, min_count=1, epochs=2)))
    assert load(made.folder).spec.dim == 8
    assert TrainConfig.read(made.folder / "run" / "config.toml").word2vec == Word2VecConfig(8, 10, 1, True, 5, 2)


def test_word2vec_takes_no_steps(config: TrainConfig) -> None:
    with pytest.raises(BadInput, match="without steps"):
        train(replace(config, model="word2vec", static=None))
