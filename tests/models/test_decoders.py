"""Decoders give the vectors and the token ids of their references, recorded by tools/record_goldens.py."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

torch = pytest.importorskip("torch", reason="transformer models need torch: pip install 'qianru[torch]'")

from checkpoints import TEXTS, write_json  # noqa: E402
from decoder_checkpoints import FULL, INSTRUCT, LAYOUTS, build, tiny_decoder  # noqa: E402
from test_parity import assert_same_vectors  # noqa: E402

from qianru.errors import BadFile, SpecMismatch  # noqa: E402
from qianru.models.decoder import DecoderConfig, turned, turns  # noqa: E402
from qianru.models.json_file import JsonFile  # noqa: E402
from qianru.models.recipe import Known, Prompts  # noqa: E402
from qianru.models.tokenizer import read_tokenizer  # noqa: E402
from qianru.models.transformer import Transformer  # noqa: E402
from qianru.runtime.options import Runtime  # noqa: E402

EXACT = Runtime(precision="float32")
SLOW = ("stella", "e5-mistral")      # 94 and 436 million weights
CASES = [*LAYOUTS, *(pytest.param(f"{name}-full", marks=[pytest.mark.slow] if name in SLOW else []) for name in FULL)]
SAYS_NO_PROMPTS = ("qwen2", "e5-mistral", "mistral-window")   # their prompts stand in the catalogue
POEM = ["床前明月光", "举头望明月，低头思故乡", "test"]


@pytest.fixture(scope="module")
def goldens() -> Any:
    """What the references made."""
    return np.load(Path(__file__).parent.parent / "goldens" / "decoders.npz")


@pytest.fixture(scope="module", params=CASES)
def case(
    request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, Transformer]:
    """(name, folder, model) of every layout."""
    name, full = request.param.removesuffix("-full"), request.param.endswith("-full")
    if full and name in SLOW and (os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) < 12e9:
        pytest.skip("this needs 12 GB of memory")
    folder = build(name, tmp_path_factory.mktemp(request.param), data, full=full)
    known = Known(prompts=Prompts(query=INSTRUCT)) if name in SAYS_NO_PROMPTS else None
    return request.param, folder, Transformer.load(folder, EXACT, known=known)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The smallest decoder, to be changed."""
    return tiny_decoder(tmp_path / "tiny")


def change(path: Path, **values: Any) -> None:
    write_json(path, json.loads(path.read_text("utf-8")) | values)


def cosines(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    return (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)


def vectors(folder: Path, **options: Any) -> np.ndarray:
    dense = Transformer.load(folder, EXACT, **options).encode(POEM).dense
    assert dense is not None
    return dense


# Against the references


@pytest.mark.parametrize("role", ["document", "query"])
def test_dense_vectors_are_the_references(case: tuple[str, Path, Transformer], goldens: Any, role: Any) -> None:
    name, _, model = case
    assert_same_vectors(model.encode(TEXTS, role=role).dense, goldens[f"{name}/{role}"])


@pytest.mark.parametrize("role", ["document", "query"])
def test_token_ids_are_those_that_the_folder_says(
    case: tuple[str, Path, Transformer], goldens: Any, role: Any
) -> None:
    name, _, model = case
    if f"{name}/{role}/ids0" not in goldens:
        pytest.skip(f"the reference of {name} shows no ids")
    rows = model.tokenizer.rows(TEXTS, model.prompts.before(role)).rows
    for i, row in enumerate(rows):
        assert_array_equal(row, goldens[f"{name}/{role}/ids{i}"])


@pytest.mark.parametrize(("precision", "least"), [("bfloat16", 0.999), ("int8", 0.995)])
def test_lower_precision_stays_close(case: tuple[str, Path, Transformer], precision: Any, least: float) -> None:
    name, folder, model = case
    if name not in ("qwen2", "qwen3", "mistral-window"):
        pytest.skip("a model of the same family is tested")
    lower = Transformer.load(folder, Runtime(precision=precision)).encode(TEXTS).dense
    assert cosines(lower, model.encode(TEXTS).dense).min() > least


def test_what_stands_after_a_token_matters_only_where_attention_looks_both_ways(
    case: tuple[str, Path, Transformer],
) -> None:
    from qianru.runtime.packing import pack

    name, _, model = case
    row = model.tokenizer.rows(["举头望明月，低头思故乡。"]).rows[0]
    with torch.inference_mode():
        whole, part = model.network.backbone(pack([row])), model.network.backbone(pack([row[:5]]))
    assert torch.allclose(whole[:5], part, atol=1e-4) == (name.removesuffix("-full") not in ("gte-qwen2", "stella"))


@pytest.mark.parametrize(("name", "first", "last"), [
    ("gte-qwen2", None, "<|endoftext|>"),     # asked for by tokenizer_config.json alone
    ("qwen2", None, "<|endoftext|>"),
    ("qwen3", None, "<|endoftext|>"),         # tokenizer.json closes with it, though eos_token is <|im_end|>
    ("stella", None, "<|endoftext|>"),
    ("e5-mistral", "<s>", "</s>"),
])
def test_every_row_begins_and_ends_with_the_tokens_that_were_trained(
    name: str, first: str | None, last: str, data: Path, tmp_path: Path
) -> None:
    folder = build(name, tmp_path / name, data)
    tokenizer = Transformer.load(folder, EXACT).tokenizer
    told = [tokenizer.tokenizer.id_to_token(i) for i in (*tokenizer.prefix, *tokenizer.suffix)]
    assert told == [token for token in (first, last) if token is not None]
    for row in tokenizer.rows([*TEXTS, "月" * 2000], "Instruct: Find the poem\nQuery: ").rows:
        assert tokenizer.tokenizer.id_to_token(row[-1]) == last
        assert (row == tokenizer.suffix[0]).sum() == 1


# Which way attention looks


def test_the_folder_says_whether_attention_is_causal(folder: Path) -> None:
    plain = vectors(folder)
    change(folder / "config.json", is_causal=True)
    assert_array_equal(vectors(folder), plain)
    assert_array_equal(vectors(folder, known=Known(causal=True)), plain)
    change(folder / "config.json", is_causal=False, sliding_window=None)
    assert (cosines(vectors(folder), plain) < 0.99).all()
    with pytest.raises(SpecMismatch, match="says is_causal = False; the model is known to have True"):
        vectors(folder, known=Known(causal=True))


def test_the_catalogue_says_it_where_the_folder_does_not(folder: Path, tmp_path: Path) -> None:
    change(folder / "config.json", sliding_window=None)
    plain, known = vectors(folder), Known(causal=False)
    model = Transformer.load(folder, EXACT, known=known)
    assert (cosines(vectors(folder, known=known), plain) < 0.99).all()
    model.save(tmp_path / "saved")
    assert_array_equal(Transformer.load(tmp_path / "saved").encode(POEM).dense, vectors(folder, known=known))


def test_code_of_its_own_that_nobody_describes_is_not_guessed_at(folder: Path) -> None:
    change(folder / "config.json", auto_map={"AutoModel": "modeling_qwen.Qwen2Model"}, sliding_window=None)
    with pytest.raises(SpecMismatch, match='Write "is_causal": false into it'):
        vectors(folder)
    vectors(folder, known=Known(causal=False))


# What config.json may say


@pytest.mark.parametrize(("values", "message"), [
    ({"hidden_act": "gelu"}, "asks for the activation 'gelu'"),
    ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "asks for rotary positions {'type': 'yarn'"),
    ({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "supported is the type 'default'"),
    ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "supported is the type 'default'"),
    ({"partial_rotary_factor": 0.5}, "for whole heads"),
    ({"rope_theta": -1.0}, "'rope_theta' to be above 0"),
    ({"rms_norm_eps": -1.0}, "'rms_norm_eps' to be at least 0"),
    ({"num_key_value_heads": 3}, "do not fit 3 key heads"),
    ({"head_dim": 7}, "pairs of numbers"),
    ({"is_causal": False}, "a window of 4096 tokens and for attention that is not causal"),
    ({"model_type": "qwen2"}, "lacks the tensor 'layers.0.self_attn.q_proj.bias'"),
    ({"model_type": "qwen3", "head_dim": 8}, "lacks the tensor 'layers.0.self_attn.q_norm.weight'"),
    ({"num_hidden_layers": 1}, "holds 9 tensors that this architecture has no place for"),
    ({"model_type": "llama"}, "supported are bert, roberta, xlm-roberta, qwen2, qwen3, mistral"),
])
def test_settings_that_there_is_no_code_for_are_refused_by_name(
    folder: Path, values: dict[str, Any], message: str
) -> None:
    change(folder / "config.json", max_position_embeddings=32768, **values)
    with pytest.raises(SpecMismatch, match=message):
        vectors(folder)


@pytest.mark.parametrize(("values", "window", "n_full"), [
    ({"model_type": "mistral"}, 4096, 0),                                # as transformers has it
    ({"model_type": "mistral", "sliding_window": None}, None, 0),
    ({"model_type": "mistral", "sliding_window": 40000}, None, 0),       # wider than any text
    ({"model_type": "qwen2", "sliding_window": 9}, None, 2),
    ({"model_type": "qwen2", "sliding_window": 9, "use_sliding_window": True, "max_window_layers": 1}, 9, 1),
    ({"model_type": "qwen3", "sliding_window": 9, "use_sliding_window": True,
      "layer_types": ["sliding_attention", "sliding_attention"]}, 9, 0),
])
def test_a_window_is_where_config_json_has_it(values: dict[str, Any], window: int | None, n_full: int) -> None:
    sizes = {"vocab_size": 9, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 2,
             "intermediate_size": 8, "max_position_embeddings": 32768}
    shape = DecoderConfig.read(JsonFile("config.json", sizes | values), None)
    assert (shape.window, shape.n_full) == (window, n_full)


def test_windows_in_another_order_are_refused() -> None:
    values = {"model_type": "qwen2", "vocab_size": 9, "hidden_size": 8, "num_attention_heads": 2,
              "num_hidden_layers": 2, "intermediate_size": 8, "max_position_embeddings": 64,
              "use_sliding_window": True, "layer_types": ["sliding_attention", "full_attention"]}
    with pytest.raises(SpecMismatch, match="has layer_types"):
        DecoderConfig.read(JsonFile("config.json", values), None)


def test_turning_by_the_same_angle_keeps_the_product_of_two_points() -> None:
    points = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1))
    near, far = (turned(points, *turns(torch.tensor(places), 8, 100.0)) for places in ([3, 5], [13, 15]))
    assert_allclose((near[0] * near[1]).sum(-1), (far[0] * far[1]).sum(-1), atol=1e-5)
    assert_allclose(near.norm(dim=-1), points.norm(dim=-1), atol=1e-5)


# Weights and gradients


def test_a_bfloat16_checkpoint_is_trained_in_float32(data: Path, tmp_path: Path) -> None:
    folder = tiny_decoder(tmp_path / "tiny")
    model = Transformer.load(folder, EXACT, packed=False)
    from qianru.runtime.packing import pack

    row = model.tokenizer.rows(["床前明月光"]).rows[0]
    model.network.dense_vectors(model.network.backbone(pack([row])), pack([row])).sum().backward()
    assert all(p.dtype == torch.float32 and p.grad is not None and p.grad.isfinite().all()
               for p in model.network.parameters())


def test_every_tensor_has_its_name_back(case: tuple[str, Path, Transformer]) -> None:
    name, folder, model = case
    if name.endswith("-full") or name == "gte-qwen2":
        pytest.skip("the same shape is there in small")
    plain = Transformer.load(folder, EXACT, packed=False).network.named_tensors()
    assert set(plain) == set(model.network.source)
    for tensor, value in plain.items():
        assert_array_equal(value, model.network.source[tensor])


# Tokenizers


def test_qwen_is_built_from_its_older_files(data: Path, tmp_path: Path) -> None:
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes(gzip.decompress((data / "tokenizers/qwen" / f"{name}.gz").read_bytes()))
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(read_tokenizer(tmp_path, "qwen2")[0].decode())
    assert tokenizer.get_vocab_size() == 151646
    for text in TEXTS:
        encoding = tokenizer.encode(text)
        assert tokenizer.decode(encoding.ids) == text
        assert encoding.ids == tokenizer.encode(text, add_special_tokens=False).ids   # nothing asked for a last token
    # Qwen's tiktoken file gives the rank of each token's bytes: 5 digits are 5 tokens, and case is kept
    assert tokenizer.encode("12345").tokens == ["1", "2", "3", "4", "5"]
    assert tokenizer.encode("Hello world<|endoftext|>").ids == [9707, 1879, 151643]
    with pytest.raises(BadFile, match=r"no vocab\.json with"):
        read_tokenizer(tmp_path, "mistral")


def test_tokens_that_the_folder_asks_for_stand_around_every_text_once(folder: Path) -> None:
    model = Transformer.load(folder, EXACT)
    assert (model.tokenizer.prefix, model.tokenizer.suffix) == ([1], [2])
    assert [row.tolist()[-1] for row in model.tokenizer.rows(["月" * 300, "月"]).rows] == [2, 2]
    content = json.loads(model.tokenizer.content)
    write_json(folder / "tokenizer.json", content)   # which now has both
    again = Transformer.load(folder, EXACT).tokenizer
    assert (again.prefix, again.suffix) == ([1], [2])
    change(folder / "tokenizer_config.json", add_eos_token=None, add_bos_token=None)
    again = Transformer.load(folder, EXACT).tokenizer
    assert (again.prefix, again.suffix) == ([1], [2])


def test_a_last_token_that_is_not_there_is_not_left_out(folder: Path) -> None:
    change(folder / "tokenizer_config.json", eos_token="<|end|>")
    with pytest.raises(SpecMismatch, match=r"says add_eos_token, and names as eos_token '<\|end\|>'"):
        vectors(folder)
    change(folder / "tokenizer_config.json", eos_token=None)
    with pytest.raises(SpecMismatch, match="names as eos_token None"):
        vectors(folder)


@pytest.mark.parametrize(("name", "content", "error"), [
    ("merges.txt", "#version: 0.2\na b\nabc\n", BadFile),
    ("merges.txt", "a zzz\n", SpecMismatch),
    ("vocab.json", '["a"]', SpecMismatch),
    ("vocab.json", '{"a": -1}', SpecMismatch),
    ("vocab.json", "{", BadFile),
    ("tokenizer_config.json", '{"added_tokens_decoder": {"7": {"content": "<|endoftext|>"}}}', SpecMismatch),
    ("tokenizer_config.json", '{"added_tokens_decoder": {"x": {"content": "<|endoftext|>"}}}', SpecMismatch),
    ("tokenizer_config.json", '{"added_tokens_decoder": {"2": "<|endoftext|>"}}', SpecMismatch),
    ("added_tokens.json", '{"<|endoftext|>": 9}', SpecMismatch),
    ("added_tokens.json", '{"<|endoftext|>": "2"}', SpecMismatch),
])
def test_files_of_a_tokenizer_that_do_not_fit_are_refused(
    tmp_path: Path, name: str, content: str, error: type[Exception]
) -> None:
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 1, "ab": 2}')
    (tmp_path / "merges.txt").write_text("a b\n")
    read_tokenizer(tmp_path, "qwen2")
    (tmp_path / name).write_text(content)
    with pytest.raises(error):
        read_tokenizer(tmp_path, "qwen2")
