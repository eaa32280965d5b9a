"""A model's folder is used wholly or refused with a reason; nothing in it is executed or believed."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

torch = pytest.importorskip("torch", reason="transformer models need torch: pip install 'qianru[torch]'")

from checkpoints import (  # noqa: E402
    encoder_tensors,
    tiny,
    write_bin,
    write_dense,
    write_json,
    write_modules,
    write_safetensors,
    write_shards,
)

import qianru  # noqa: E402
from qianru.errors import BadFile, BadInput, QianruError, SpecMismatch  # noqa: E402
from qianru.models.recipe import Known, Prompts  # noqa: E402
from qianru.models.transformer import Transformer  # noqa: E402
from qianru.runtime.options import Runtime  # noqa: E402

EXACT = Runtime(precision="float32", threads=1)
POEM = ["床前明月光", "举头望明月", "我爱吃蔬菜 test"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The smallest model, to be damaged."""
    return tiny(tmp_path / "tiny")


def vectors(folder: Path, **options: Any) -> np.ndarray:
    dense = Transformer.load(folder, EXACT, **options).encode(POEM, kinds=["dense"]).dense
    assert dense is not None
    return dense


def config_of(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    return values


def tensors_of(folder: Path) -> dict[str, np.ndarray]:
    return encoder_tensors(config_of(folder), 7)


def change(path: Path, **values: Any) -> None:
    write_json(path, json.loads(path.read_text("utf-8")) | values)


# What is the same model in another layout


def as_bin(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    write_bin(folder / "pytorch_model.bin", tensors_of(folder))


def as_old_bin(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    write_bin(folder / "pytorch_model.bin", tensors_of(folder), zipped=False)


def as_shards(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    write_shards(folder, tensors_of(folder))


def as_pretrained(folder: Path) -> None:
    heads = ("cls.predictions.bias", "cls.seq_relationship.weight")
    extra = {name: np.zeros((2, 32), np.float32) for name in heads}
    write_safetensors(folder / "model.safetensors",
                      {f"bert.{name}": tensor for name, tensor in tensors_of(folder).items()} | extra)


def in_a_folder_of_its_own(folder: Path) -> None:
    (folder / "0_Transformer").mkdir()
    for name in ("config.json", "vocab.txt", "model.safetensors"):
        (folder / name).rename(folder / "0_Transformer" / name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    write_json(folder / "modules.json", modules)


def without_modules(folder: Path) -> None:
    (folder / "modules.json").unlink()


def by_uniem(folder: Path) -> None:
    (folder / "modules.json").unlink()
    shutil.rmtree(folder / "1_Pooling")
    change(folder / "config.json", uniem_embedding_strategy="last_mean")


def of_today(folder: Path) -> None:
    """As sentence-transformers 6 writes it."""
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "sentence_transformers.base.modules.transformer.Transformer"
    modules[1]["type"] = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
    write_json(folder / "modules.json", modules)
    write_json(folder / "1_Pooling/config.json",
               {"embedding_dimension": 32, "pooling_mode": "mean", "include_prompt": True})


@pytest.mark.parametrize("rewrite", [as_bin, as_old_bin, as_shards, as_pretrained, in_a_folder_of_its_own,
                                     without_modules, by_uniem, of_today])
def test_the_same_weights_in_another_layout_give_the_same_vectors(
    folder: Path, rewrite: Callable[[Path], None]
) -> None:
    before = vectors(folder)
    rewrite(folder)
    assert_allclose(vectors(folder), before, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_of_half_precision_are_computed_in_full(folder: Path, dtype: str) -> None:
    from safetensors.torch import load_file, save_file

    exact = {name: t.to(getattr(torch, dtype)) for name, t in load_file(folder / "model.safetensors").items()}
    save_file({name: tensor.float() for name, tensor in exact.items()}, folder / "model.safetensors")
    in_full = vectors(folder)
    save_file(exact, folder / "model.safetensors")
    assert_allclose(vectors(folder), in_full, atol=0)


def test_load_finds_a_transformer_by_its_files(folder: Path) -> None:
    model = qianru.load(folder)
    assert isinstance(model, Transformer)
    assert model.spec.name == "tiny"


# What is applied, in order


def test_every_module_is_applied_and_slicing_comes_before_length_one(folder: Path) -> None:
    plain = vectors(folder)
    write_dense(folder / "2_Dense", 32, 48, seed=1, activation="activation.Tanh")
    write_modules(folder, "Transformer", "Pooling", "Dense", "Normalize")
    from safetensors.numpy import load_file

    dense = load_file(folder / "2_Dense" / "model.safetensors")
    expected = np.tanh(plain @ dense["linear.weight"].T + dense["linear.bias"])
    assert_allclose(vectors(folder), expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)
    short = Transformer.load(folder, Runtime(precision="float32", truncate_dim=16))
    assert short.spec.dim == 16
    sliced = expected[:, :16]
    assert_allclose(short.encode(POEM).dense, sliced / np.linalg.norm(sliced, axis=1, keepdims=True), atol=1e-6)
    raw = Transformer.load(folder, Runtime(precision="float32", normalize=False))
    assert_allclose(raw.encode(POEM).dense, expected, atol=1e-6)


def test_a_dense_without_a_stated_activation_has_sentence_transformers_tanh(folder: Path) -> None:
    write_modules(folder, "Transformer", "Pooling", "Dense")
    write_dense(folder / "2_Dense", 32, 32, seed=1, activation="activation.Tanh")
    stated = vectors(folder)
    path = folder / "2_Dense/config.json"
    write_json(path, {name: v for name, v in json.loads(path.read_text()).items() if name != "activation_function"})
    assert_allclose(vectors(folder), stated)


@pytest.mark.parametrize(("pooling", "expected"), [
    ("cls", lambda h: h[0]), ("lasttoken", lambda h: h[-1]), ("mean", lambda h: h.mean(0)), ("max", lambda h: h.max(0)),
    ("mean_sqrt_len_tokens", lambda h: h.sum(0) / len(h) ** 0.5),
    ("weightedmean", lambda h: (h * np.arange(1, len(h) + 1)[:, None]).sum(0) / np.arange(1, len(h) + 1).sum()),
])
def test_every_pooling_is_what_it_says(folder: Path, pooling: str, expected: Callable[..., np.ndarray]) -> None:
    from qianru.runtime.packing import pack

    without_modules(folder)
    shutil.rmtree(folder / "1_Pooling")
    model = Transformer.load(folder, EXACT, known=Known(pooling=pooling))
    for row, vector in zip(model.tokenizer.rows(POEM).rows, model.encode(POEM).dense, strict=True):
        with torch.inference_mode():
            hidden = model.network.backbone(pack([row])).numpy()
        assert_allclose(vector, expected(hidden), atol=1e-5)


def test_prompts_stand_before_the_text(folder: Path) -> None:
    plain = Transformer.load(folder, EXACT)
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"query": "明月", "document": ""}})
    model = Transformer.load(folder, EXACT)
    assert_allclose(model.encode(POEM, role="query").dense, plain.encode(["明月" + text for text in POEM]).dense)
    assert_allclose(model.encode(POEM).dense, plain.encode(POEM).dense)
    assert model.encode(POEM, role="query").n_tokens.tolist() == plain.encode(POEM).n_tokens.tolist()


def test_an_instruction_takes_its_place_in_the_template(folder: Path) -> None:
    plain = Transformer.load(folder, EXACT)
    model = Transformer.load(folder, EXACT, known=Known(prompts=Prompts("月", "", "望{instruction}月")))
    assert_allclose(model.encode(POEM, role="query", instruction="思").dense,
                    plain.encode(["望思月" + text for text in POEM]).dense)
    with pytest.raises(BadInput, match="Instructions are for queries"):
        model.encode(POEM, instruction="思")


@pytest.mark.parametrize(("query", "without", "template"), [
    ("Instruct: Find the poem\nQuery: ", "Instruct: Find the poem\nQuery: ", "Instruct: 找诗\nQuery: "),   # gte-Qwen2's
    ("Instruct: Find the poem\nQuery:", "Instruct: Find the poem\nQuery:", "Instruct: 找诗\nQuery:"),       # Qwen3's
    ("Instruct: {task}\nQuery: ", None, "Instruct: 找诗\nQuery: "),
    ("{instruction}：", None, "找诗："),
    ("为这个句子生成表示以用于检索相关文章：", "为这个句子生成表示以用于检索相关文章：", None),
])
def test_a_task_in_a_folders_prompt_can_be_another(
    folder: Path, query: str, without: str | None, template: str | None
) -> None:
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"query": query, "document": "文："}})
    prompts = Transformer.load(folder, EXACT).prompts
    assert prompts.before("document") == "文："
    if without is None:
        with pytest.raises(BadInput, match=r"Say what to look for: instruction="):
            prompts.before("query")
    else:
        assert prompts.before("query") == without
    if template is None:
        with pytest.raises(BadInput, match="takes no instruction"):
            prompts.before("query", "找诗")
    else:
        assert prompts.before("query", "找诗") == template


def test_the_catalogues_prompts_go_before_the_folders(folder: Path) -> None:
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"query": "明月", "document": "文："}})
    known = Prompts("床", "", "望{instruction}月")
    assert Transformer.load(folder, EXACT, known=Known(prompts=known)).prompts == known


def test_a_prompt_that_does_not_count_is_left_out_of_the_mean(folder: Path) -> None:
    from qianru.runtime.packing import pack

    change(folder / "1_Pooling/config.json", include_prompt=False)
    model = Transformer.load(folder, EXACT, known=Known(prompts=Prompts(query="明月")))
    vector = model.encode(["床前"], role="query").dense[0]
    row = model.tokenizer.rows(["床前"], "明月").rows[0]   # [CLS] 明 月 床 前 [SEP]
    with torch.inference_mode():
        hidden = model.network.backbone(pack([row])).numpy()
    assert_allclose(vector, hidden[3:].mean(0), atol=1e-6)


# What is refused


class Poison:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_poisoned_pickle_is_not_executed(folder: Path, tmp_path: Path, zipped: bool) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Poison(tmp_path / "executed")}, folder / "pytorch_model.bin",
               _use_new_zipfile_serialization=zipped)
    with pytest.raises(BadFile, match="other things than tensors, which are never executed"):
        Transformer.load(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Poison(tmp_path / "executed")))
    with pytest.raises(BadFile, match="never executed"):
        Transformer.load(folder)
    assert not (tmp_path / "executed").exists()


def test_a_poisoned_head_is_not_executed(folder: Path, tmp_path: Path) -> None:
    for name in ("sparse_linear.pt", "colbert_linear.pt"):
        torch.save({"weight": Poison(tmp_path / "executed")}, folder / name)
    with pytest.raises(BadFile, match="never executed"):
        Transformer.load(folder)
    assert not (tmp_path / "executed").exists()


def header(content: dict[str, Any], *, size: int | None = None, body: bytes = b"") -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + body


TERABYTES = {"a": {"dtype": "F32", "shape": [10**9, 1000], "data_offsets": [0, 4 * 10**12]}}


@pytest.mark.parametrize("content", [
    b"", b"\0" * 7, header(TERABYTES, body=b"\0" * 64), header({}, size=1 << 62), header({}, size=1 << 26),
    header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, body=b"\0" * 4), b"version https://git-lfs.github",
])
def test_damaged_safetensors_are_refused_before_anything_is_allocated(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(BadFile, match="not a whole safetensors file"):
        Transformer.load(folder)


def test_every_cut_of_a_safetensors_file_is_refused(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    for size in np.linspace(0, len(whole) - 1, 7, dtype=int):
        (folder / "model.safetensors").write_bytes(whole[:size])
        with pytest.raises(BadFile, match="not a whole"):
            Transformer.load(folder)


def test_every_cut_of_a_bin_file_is_refused(folder: Path) -> None:
    as_bin(folder)
    whole = (folder / "pytorch_model.bin").read_bytes()
    for size in np.linspace(0, len(whole) - 1, 7, dtype=int):
        (folder / "pytorch_model.bin").write_bytes(whole[:size])
        with pytest.raises(BadFile, match="damaged"):
            Transformer.load(folder)


def test_a_tensor_that_repeats_one_number_a_trillion_times_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"embeddings.word_embeddings.weight": torch.zeros(1).expand(10**6, 10**6)}, folder / "pytorch_model.bin")
    with pytest.raises(BadFile, match="claims more bytes than the file has"):
        Transformer.load(folder)


@pytest.mark.parametrize(("text", "complaint"), [
    ("!!python/object/apply:os.system ['true']", "not JSON"), ("", "not JSON"), ("[" * 100_000, "not JSON"),
    ('{"hidden_size": NaN}', "not JSON"), ("[1]", "must hold an object"),
    ("{}", "of the type ''; supported are bert"), ('{"model_type": ["bert"]}', "'model_type' to be a text"),
])
def test_a_config_that_is_no_config_is_refused(folder: Path, text: str, complaint: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(QianruError, match=complaint):
        Transformer.load(folder)


@pytest.mark.parametrize(("values", "complaint"), [
    ({"model_type": "new"}, "of the type 'new'; supported are bert, roberta, xlm-roberta"),
    ({"hidden_act": "swish"}, "activation 'swish'; supported are gelu"),
    ({"position_embedding_type": "alibi"}, "positions of the type 'alibi'"),
    ({"is_decoder": True}, "no encoder"),
    ({"num_attention_heads": 5}, "does not divide into 5 heads"),
    ({"hidden_size": {"__class__": "os.system"}}, "'hidden_size' to be a whole number"),
    ({"hidden_size": -32}, "'hidden_size' to be a whole number"),
    ({"layer_norm_eps": "1e-12"}, "'layer_norm_eps' to be a number"),
    ({"vocab_size": 10**12}, r"'embeddings.word_embeddings.weight' .* settings ask for .*\[1000000000000, 32\]"),
    ({"num_hidden_layers": 1}, "16 tensors that this architecture has no place for: encoder.layer.1"),
    ({"num_hidden_layers": 10**9}, "lacks the tensor 'encoder.layer.2"),
    ({"intermediate_size": 65}, "together"),
])
def test_a_config_that_does_not_fit_is_refused_by_name(folder: Path, values: dict[str, Any], complaint: str) -> None:
    change(folder / "config.json", **values)
    with pytest.raises(SpecMismatch, match=complaint):
        Transformer.load(folder)


def test_every_missing_tensor_is_named_and_every_other_one(folder: Path) -> None:
    tensors = tensors_of(folder)
    for name in tensors:
        if "pooler" in name:
            continue
        write_safetensors(folder / "model.safetensors", {n: t for n, t in tensors.items() if n != name})
        with pytest.raises(SpecMismatch, match=f"lacks the tensor '{name}'"):
            Transformer.load(folder)
    write_safetensors(folder / "model.safetensors", tensors | {"encoder.layer.0.gate.weight": np.zeros(2, np.float32)})
    with pytest.raises(SpecMismatch, match=r"1 tensors .*encoder.layer.0.gate.weight"):
        Transformer.load(folder)
    tensors["embeddings.LayerNorm.bias"] = tensors["embeddings.LayerNorm.bias"].astype(np.int32)
    write_safetensors(folder / "model.safetensors", tensors)
    with pytest.raises(SpecMismatch, match=r"'embeddings.LayerNorm.bias' is torch.int32"):
        Transformer.load(folder)


def test_a_missing_head_is_an_error_and_never_random(folder: Path) -> None:
    write_bin(folder / "sparse_linear.pt", {"weight": np.ones((1, 32), np.float32), "bias": np.ones(1, np.float32)})
    with pytest.raises(SpecMismatch, match=r"lacks colbert_linear.pt"):
        Transformer.load(folder)
    (folder / "sparse_linear.pt").unlink()
    with pytest.raises(SpecMismatch, match=r"lacks sparse_linear.pt"):
        Transformer.load(folder, known=Known(kinds=("dense", "sparse", "multi")))


def test_a_vocabulary_that_does_not_fit_the_embedding_is_refused(folder: Path) -> None:
    with (folder / "vocab.txt").open("a", encoding="utf-8") as file:
        file.write("龘\n")
    with pytest.raises(SpecMismatch, match=r"knows \d+ tokens and the weights have rows for \d+"):
        Transformer.load(folder)


@pytest.mark.parametrize(("kind", "complaint"), [
    ("custom_st.Transformer", "supported are Transformer, Pooling"),
    ("sentence_transformers.models.WordWeights", "supported are Transformer, Pooling"),
    ("sentence_transformers.models.Normalize", "supported is Transformer, Pooling, then"),
])
def test_a_module_that_we_lack_is_refused(folder: Path, kind: str, complaint: str) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = kind
    write_json(folder / "modules.json", modules)
    with pytest.raises(SpecMismatch, match=complaint):
        Transformer.load(folder)


@pytest.mark.parametrize("path", ["../other", "/etc", "nowhere", "a/../../b"])
def test_a_module_outside_the_folder_is_refused(folder: Path, path: str) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = path
    write_json(folder / "modules.json", modules)
    with pytest.raises(BadFile, match="names the folder"):
        Transformer.load(folder)


@pytest.mark.parametrize("shard", ["../model.safetensors", "/etc/passwd", "nowhere.safetensors", "config.json"])
def test_a_shard_outside_the_folder_is_refused(folder: Path, shard: str) -> None:
    as_shards(folder)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    write_json(path, index | {"weight_map": dict.fromkeys(index["weight_map"], shard)})
    with pytest.raises(BadFile, match=r"shard|not a whole"):
        Transformer.load(folder)


def test_a_folder_that_does_not_say_how_to_pool_is_refused(folder: Path) -> None:
    without_modules(folder)
    shutil.rmtree(folder / "1_Pooling")
    with pytest.raises(SpecMismatch, match="does not say how its tokens become one vector"):
        Transformer.load(folder)


def test_what_is_known_must_not_contradict_the_folder(folder: Path) -> None:
    with pytest.raises(SpecMismatch, match="says its pooling is mean; bge is known to have cls"):
        Transformer.load(folder, known=Known(name="bge", pooling="cls"))


def test_layers_that_do_not_fit_each_other_are_refused(folder: Path) -> None:
    write_dense(folder / "2_Dense", 31, 48, seed=1)
    write_modules(folder, "Transformer", "Pooling", "Dense")
    with pytest.raises(SpecMismatch, match="takes vectors of 31 dimensions; what comes before makes 32"):
        Transformer.load(folder)
    write_dense(folder / "2_Dense", 32, 48, seed=1, activation="activation.Softsign")
    with pytest.raises(SpecMismatch, match="Softsign"):
        Transformer.load(folder)


@pytest.mark.parametrize(("options", "complaint"), [
    ({"truncate_dim": 33}, "makes 32 dimensions"), ({"max_tokens": 65}, "reads at most 64 tokens"),
    ({"max_tokens": 2}, "2 special tokens"), ({"precision": "float16"}, "no precision 'float16'"),
    ({"threads": 0}, "threads must be"), ({"batch_tokens": True}, "batch_tokens must be"),
    ({"device": "gpu"}, "no device 'gpu'"),
])
def test_options_that_make_no_sense_are_refused(folder: Path, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(QianruError, match=complaint):
        Transformer.load(folder, Runtime(**options))


def test_a_folder_without_weights_or_tokenizer_is_refused(folder: Path) -> None:
    (folder / "vocab.txt").unlink()
    with pytest.raises(BadFile, match=r"holds no tokenizer"):
        Transformer.load(folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BadFile, match=r"tokenizer.json is not a tokenizer"):
        Transformer.load(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadFile, match=r"holds no weights"):
        Transformer.load(folder)


