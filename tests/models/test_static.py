"""Static token tables give model2vec's vectors, from folders that model2vec or sentence-transformers wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import model2vec
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import BPE, Unigram, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, Metaspace
from tokenizers.processors import BertProcessing

from qianru.errors import BadFile, SpecMismatch
from qianru.models import load
from qianru.models.static import StaticModel

TEXTS = ["我爱吃蔬菜", "春眠不觉晓，处处闻啼鸟。", "an embedding of Chinese", "", "龘😀", "我" * 30, "Ａ　ｂ\ud800"]
TYPES = "sentence_transformers.models."


@pytest.fixture(scope="module")
def bert(data: Path) -> Tokenizer:
    """The real vocabulary of bert-base-chinese: its first 9,000 tokens, with cutting, padding and special tokens on."""
    text = (data / "tokenizers" / "bert-base-chinese" / "vocab.txt").read_text("utf-8")
    lines = text.split("\n")[:9000]   # not splitlines: one token is U+2028
    tokenizer = Tokenizer(WordPiece({token: i for i, token in enumerate(lines)}, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = BertProcessing(("[SEP]", 102), ("[CLS]", 101))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding()
    return tokenizer


def write(folder: Path, tokenizer: Tokenizer, config: dict[str, Any], **tensors: np.ndarray) -> Path:
    """A folder as model2vec's save_pretrained lays it out."""
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def table(n: int, dtype: Any = np.float32) -> np.ndarray:
    rng = np.random.default_rng(8)
    if dtype == np.int8:
        return rng.integers(-127, 128, (n, 16), np.int8)
    return rng.standard_normal((n, 16)).astype(dtype)


def theirs(folder: Path, texts: list[str]) -> np.ndarray:
    """What model2vec makes of the texts, which it is told to read whole."""
    texts = [text.replace("\ud800", "\ufffd") for text in texts]
    return np.asarray(model2vec.StaticModel.from_pretrained(folder).encode(texts, max_length=None), np.float32)


def dense(model: StaticModel, texts: list[str]) -> np.ndarray:
    made = model.encode(texts).dense
    assert made is not None
    return made


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float16, 2e-3), (np.int8, 1e-4)])
def test_the_vectors_are_model2vecs(
    bert: Tokenizer, tmp_path: Path, normalize: bool, dtype: Any, tolerance: float
) -> None:
    folder = write(tmp_path / "m", bert, {"normalize": normalize}, embeddings=table(9000, dtype))
    model = StaticModel.load(folder)
    assert dense(model, TEXTS).dtype == np.float32
    assert_allclose(dense(model, TEXTS), theirs(folder, TEXTS), atol=tolerance)


def test_tokens_that_share_rows_and_have_weights_are_model2vecs(bert: Tokenizer, tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    folder = write(
        tmp_path / "m", bert, {"normalize": False, "vocabulary_quantization": 50}, embeddings=table(50),
        weights=rng.random(9000), mapping=rng.integers(0, 50, 9000),
    )
    assert_allclose(dense(StaticModel.load(folder), TEXTS), theirs(folder, TEXTS), atol=1e-6)


def test_a_unigram_tokenizer_finds_its_unknown_token_by_its_id(tmp_path: Path) -> None:
    tokenizer = Tokenizer(Unigram([("<unk>", 0.0), ("▁", -2.0), ("我", -1.0), ("爱", -1.5)], unk_id=0))
    tokenizer.pre_tokenizer = Metaspace()
    folder = write(tmp_path / "m", tokenizer, {}, embeddings=table(4))
    assert_allclose(dense(StaticModel.load(folder), ["我爱你", "你"]), theirs(folder, ["我爱你", "你"]), atol=1e-6)


def test_a_tokenizer_without_an_unknown_token_drops_nothing(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", Tokenizer(BPE({"我": 0, "爱": 1}, [])), {}, embeddings=table(2))
    assert_allclose(dense(StaticModel.load(folder), ["我爱"]), table(2).mean(0, keepdims=True), atol=1e-6)


def test_a_long_text_is_read_whole(bert: Tokenizer, tmp_path: Path) -> None:
    rows = table(9000)
    model = StaticModel.load(write(tmp_path / "m", bert, {"max_length": 512}, embeddings=rows))
    embeddings = model.encode(["我" * 600 + "肉" * 600])
    assert (embeddings.n_tokens.tolist(), embeddings.n_truncated) == ([1200], 0)
    expected = (rows[bert.token_to_id("我")] + rows[bert.token_to_id("肉")]) / 2
    assert embeddings.dense is not None
    assert_allclose(embeddings.dense[0], expected, atol=1e-5)


def test_unknown_tokens_are_counted_and_passed_over(bert: Tokenizer, tmp_path: Path) -> None:
    model = StaticModel.load(write(tmp_path / "m", bert, {}, embeddings=table(9000)))
    assert model.encode(["我😀", "😀"]).n_tokens.tolist() == [2, 1]
    assert_array_equal(dense(model, ["我😀"]), dense(model, ["我"]))
    assert not dense(model, ["😀"]).any()


@pytest.mark.parametrize("place", [".", "0_StaticEmbedding"])
@pytest.mark.parametrize("normalized", [False, True])
def test_a_folder_of_sentence_transformers_keeps_its_own_rules(
    bert: Tokenizer, tmp_path: Path, place: str, normalized: bool
) -> None:
    rows = table(9000)
    (tmp_path / place).mkdir(exist_ok=True)
    bert.save(str(tmp_path / place / "tokenizer.json"))
    save_file({"embedding.weight": rows}, tmp_path / place / "model.safetensors")
    modules = [{"idx": 0, "name": "0", "path": place, "type": TYPES + "StaticEmbedding"}]
    modules += [{"idx": 1, "name": "1", "path": "1_Normalize", "type": TYPES + "Normalize"}] * normalized
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "config_sentence_transformers.json").write_text("{}")
    model = load(tmp_path)
    assert isinstance(model, StaticModel)
    ids = [bert.token_to_id(token) for token in ("我", "[UNK]", "肉")]   # an unknown token has a row here
    expected = rows[ids].mean(0)
    assert_allclose(dense(model, ["我😀肉"])[0], expected / (np.linalg.norm(expected) if normalized else 1), atol=1e-6)


def test_what_follows_a_static_embedding_is_not_passed_over(bert: Tokenizer, tmp_path: Path) -> None:
    write(tmp_path / "m", bert, {}, **{"embedding.weight": table(9000)})
    modules = [{"path": ".", "type": TYPES + "StaticEmbedding"}, {"path": "1_Dense", "type": TYPES + "Dense"}]
    (tmp_path / "m" / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(SpecMismatch, match="asks for Dense after the table"):
        load(tmp_path / "m")


@pytest.mark.parametrize("options", [{}, {"normalize": True}])
def test_what_is_saved_model2vec_reads(bert: Tokenizer, tmp_path: Path, options: dict[str, Any]) -> None:
    model = load(write(tmp_path / "m", bert, options, embeddings=table(9000)))
    assert isinstance(model, StaticModel)
    model.save(tmp_path / "saved")
    assert_allclose(theirs(tmp_path / "saved", TEXTS), dense(model, TEXTS), atol=1e-6)
    again = load(tmp_path / "saved")
    assert again.spec == model.spec
    (tmp_path / "saved" / "qianru.json").unlink()
    assert load(tmp_path / "saved").spec == model.spec   # as model2vec's own folder it says the same


def test_what_model2vec_saves_is_read(bert: Tokenizer, tmp_path: Path) -> None:
    model = model2vec.StaticModel(table(9000), bert, normalize=True)
    model.save_pretrained(tmp_path / "m")
    assert_allclose(dense(StaticModel.load(tmp_path / "m"), TEXTS), theirs(tmp_path / "m", TEXTS), atol=1e-6)


def test_sif_gives_frequent_tokens_little_weight(bert: Tokenizer, tmp_path: Path) -> None:
    rows = table(9000)
    model = StaticModel.load(write(tmp_path / "m", bert, {}, embeddings=rows)).with_sif(["我我我", "肉"], a=0.25)
    me, meat = rows[bert.token_to_id("我")], rows[bert.token_to_id("肉")]
    assert_allclose(dense(model, ["我肉"])[0], (0.25 * me + 0.5 * meat) / 2, atol=1e-6)


def test_the_fingerprint_is_that_of_table_tokenizer_and_rules(bert: Tokenizer, tmp_path: Path) -> None:
    rows = table(9000)
    one = StaticModel.load(write(tmp_path / "1", bert, {}, embeddings=rows)).spec.fingerprint
    assert StaticModel.load(write(tmp_path / "2", bert, {"seq_length": 9}, embeddings=rows)).spec.fingerprint == one
    assert StaticModel.load(write(tmp_path / "3", bert, {"normalize": True}, embeddings=rows)).spec.fingerprint != one
    assert StaticModel.load(write(tmp_path / "4", bert, {}, embeddings=-rows)).spec.fingerprint != one


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        ({"embeddings": table(8999)}, "tokenizer has 9000 tokens and the table 8999 rows"),
        ({"embeddings": table(9000)[0]}, "is none of vectors"),
        ({"embeddings": table(50), "mapping": np.zeros(8999, np.int64)}, "9000 tokens need as many mapping"),
        ({"embeddings": table(50), "mapping": np.full(9000, 50)}, "rows that the table of 50 lacks"),
        ({"embeddings": table(9000), "weights": np.ones((9000, 1))}, "9000 tokens need as many weights"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    bert: Tokenizer, tmp_path: Path, tensors: dict[str, np.ndarray], complaint: str
) -> None:
    with pytest.raises(SpecMismatch, match=complaint):
        load(write(tmp_path / "m", bert, {}, **tensors))


def test_damaged_files_are_named(bert: Tokenizer, tmp_path: Path) -> None:
    folder = write(tmp_path / "m", bert, {}, embeddings=table(9000))
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1])
    with pytest.raises(BadFile, match=r"model.safetensors is not a file of arrays"):
        load(folder)
    (folder / "model.safetensors").write_bytes(whole)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BadFile, match=r"tokenizer.json is not a tokenizer"):
        load(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BadFile, match=r"tokenizer.json cannot be read"):
        load(folder)
    (folder / "config.json").write_text("[")
    with pytest.raises(BadFile, match=r"config.json is not JSON"):
        load(folder)
    with pytest.raises(BadFile, match="not finite"):
        load(write(tmp_path / "nan", bert, {}, embeddings=np.full((9000, 2), np.nan)))
    with pytest.raises(SpecMismatch, match="is no static model"):
        StaticModel.load(tmp_path)
