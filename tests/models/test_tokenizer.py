"""Token ids are those that the folder's own files give, cut where the model ends, and counted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from checkpoints import TEXTS, tiny
from corpora import CORPORA
from hypothesis import given, strategies as st
from tokenizers import Tokenizer

from qianru.errors import BadFile, SpecMismatch
from qianru.models.sentencepiece_file import precompiled, read_sentencepiece
from qianru.models.tokenizer import TextTokenizer, parse_tokenizer, read_tokenizer

pytest.importorskip("torch", reason="small checkpoints are written with torch: pip install 'qianru[torch]'")


def text_tokenizer(folder: Path, max_tokens: int = 64) -> TextTokenizer:
    content, special = read_tokenizer(folder, "bert")
    return TextTokenizer(content, max_tokens, special=special)


def built(folder: Path, model_type: str = "bert") -> Tokenizer:
    return parse_tokenizer(read_tokenizer(folder, model_type)[0])


@pytest.mark.parametrize("name", CORPORA)
def test_a_tokenizer_from_vocab_txt_is_the_one_of_tokenizer_json(data: Path, tmp_path: Path, name: str) -> None:
    shutil.copyfile(data / "tokenizers/bert-base-chinese/vocab.txt", tmp_path / "vocab.txt")
    shutil.copyfile(data / "model_layouts/m3e-small/tokenizer_config.json", tmp_path / "tokenizer_config.json")
    real = Tokenizer.from_file(str(data / "model_layouts/m3e-small/tokenizer.json"))
    texts = [*TEXTS, "[CLS] in the text [MASK] [SEP]", *CORPORA[name](data)[:300]]
    real.no_truncation()
    assert [e.ids for e in built(tmp_path).encode_batch(texts)] == [e.ids for e in real.encode_batch(texts)]
    assert read_tokenizer(tmp_path, "bert")[1]["cls_token"] == "[CLS]"


def test_a_bert_lowers_case_unless_its_files_say_otherwise(data: Path, tmp_path: Path) -> None:
    shutil.copyfile(data / "tokenizers/bert-base-chinese/vocab.txt", tmp_path / "vocab.txt")
    assert built(tmp_path).encode("Café").ids == built(tmp_path).encode("cafe").ids
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false, "strip_accents": false}')
    assert built(tmp_path).encode("Café").ids != built(tmp_path).encode("cafe").ids


def test_a_sentencepiece_file_is_read_as_its_tokenizer_json_says(data: Path) -> None:
    real = json.loads((data / "tokenizers/barthez-spm-standin/tokenizer.json").read_text("utf-8"))
    file = read_sentencepiece(data / "tokenizers/barthez-spm-standin/sentencepiece.bpe.model")
    assert file.kind == "unigram"
    assert [piece for piece, _ in file.pieces[:3]] == ["<unk>", "<s>", "</s>"]
    ours, theirs = [piece for piece, _ in file.pieces[3:20_000]], [piece for piece, _ in real["model"]["vocab"][4:]]
    assert ours == theirs[: len(ours)]   # whose file goes on with another selection and without scores
    assert all(before >= after for (_, before), (_, after) in pairwise(file.pieces[3:20_000]))


def test_xlm_roberta_is_built_from_its_sentencepiece_model(data: Path, tmp_path: Path) -> None:
    model = data / "tokenizers/barthez-spm-standin/sentencepiece.bpe.model"
    shutil.copyfile(model, tmp_path / "sentencepiece.bpe.model")
    tokenizer = built(tmp_path, "xlm-roberta")
    real = Tokenizer.from_file(str(data / "tokenizers/barthez-spm-standin/tokenizer.json"))
    for text in ["Le petit chat est mort.", "Ça  va ?", " l'été à Paris", "向量"]:
        ids = tokenizer.encode(text).ids
        assert ids[0] == 0
        assert ids[-1] == 2
        assert ids[1:-1] == real.encode(text, add_special_tokens=False).ids
    assert read_tokenizer(tmp_path, "xlm-roberta")[1]["eos_token"] == "</s>"
    with pytest.raises(BadFile, match="holds no tokenizer that can be read"):
        read_tokenizer(tmp_path, "bert")


@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_sentencepiece_model_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.model"
    path.write_bytes(content)
    with pytest.raises((BadFile, SpecMismatch)):
        read_sentencepiece(path)


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b"\x0a\xff\xff\xff\x0f" + whole]
)
def test_a_damaged_sentencepiece_model_is_refused(
    data: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    whole = (data / "tokenizers/barthez-spm-standin/sentencepiece.bpe.model").read_bytes()
    (tmp_path / "sentencepiece.bpe.model").write_bytes(damage(whole))
    with pytest.raises(BadFile, match="not a sentencepiece model"):
        read_sentencepiece(tmp_path / "sentencepiece.bpe.model")


def test_a_damaged_table_of_characters_is_refused() -> None:
    with pytest.raises(BadFile, match=r"诗\.model is damaged"):
        precompiled(Path("诗.model"), b"\xff\xff\xff\xff")


def test_a_text_is_framed_cut_and_counted(tmp_path: Path) -> None:
    tokenizer = text_tokenizer(tiny(tmp_path / "tiny"), max_tokens=6)
    tokens = tokenizer.rows(["床前", "床前明月", "床前明月光", "", "  "])
    assert [row.tolist() for row in tokens.rows] == [
        [2, 5, 6, 3], [2, 5, 6, 7, 8, 3], [2, 5, 6, 7, 8, 3], [], []
    ]
    assert tokens.n_tokens.tolist() == [2, 4, 5, 0, 0]
    assert tokens.n_cut == 1


def test_a_prompt_is_cut_with_the_text_and_not_counted(tmp_path: Path) -> None:
    tokenizer = text_tokenizer(tiny(tmp_path / "tiny"), max_tokens=6)
    tokens = tokenizer.rows(["床前", "床前明", ""], "月光")
    assert [row.tolist() for row in tokens.rows] == [[2, 8, 9, 5, 6, 3], [2, 8, 9, 5, 6, 3], []]
    assert tokens.n_tokens.tolist() == [2, 3, 0]
    assert tokens.n_cut == 1
    assert tokenizer.prompt_length("月光") == 3   # with [CLS]


def test_what_a_text_spells_does_not_become_a_special_token_of_another_kind(tmp_path: Path) -> None:
    tokenizer = text_tokenizer(tiny(tmp_path / "tiny"))
    assert tokenizer.rows(["\ud800床\udfff"]).rows[0].tolist() == [2, 5, 3]   # U+FFFD is dropped, as BERT does


def test_a_vocabulary_without_its_special_tokens_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("床\n前\n", "utf-8")
    with pytest.raises(SpecMismatch, match=r"lacks \[UNK\], \[SEP\], \[PAD\], \[CLS\]"):
        read_tokenizer(tmp_path, "bert")
    (tmp_path / "vocab.txt").write_bytes("床\n".encode("gbk"))
    with pytest.raises(BadFile, match="not UTF-8"):
        read_tokenizer(tmp_path, "bert")


# Mistral's from tokenizer.model alone

GOLDENS = Path(__file__).parent.parent / "goldens"


def mistral(folder: Path, **config: Any) -> TextTokenizer:
    """A folder with a sentencepiece model of byte pairs and nothing else."""
    shutil.copyfile(GOLDENS / "sentencepiece_bpe.model", folder / "tokenizer.model")
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    content, special = read_tokenizer(folder, "mistral")
    return TextTokenizer(content, 4096, special=special)


def test_mistral_is_built_from_its_sentencepiece_model(tmp_path: Path) -> None:
    golden = json.loads((GOLDENS / "sentencepiece_bpe.json").read_text("utf-8"))
    tokenizer = mistral(tmp_path)
    for text, ids in zip(golden["texts"], golden["ids"], strict=True):
        encoded = tokenizer.tokenizer.encode(text, add_special_tokens=False).ids
        assert encoded == ids, text
        assert tokenizer.tokenizer.decode(encoded) == text.replace("▁", " ")
    assert tokenizer.special == {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize(("config", "frame"), [
    ({}, ([1], [])),                                              # as Llama's do
    ({"add_bos_token": True, "add_eos_token": True}, ([1], [2])),   # E5-mistral
    ({"add_bos_token": False, "add_eos_token": True}, ([], [2])),
])
def test_mistrals_first_and_last_token_are_those_that_the_folder_asks_for(
    tmp_path: Path, config: dict[str, bool], frame: tuple[list[int], list[int]]
) -> None:
    tokenizer = mistral(tmp_path, **config)
    assert (tokenizer.prefix, tokenizer.suffix) == frame


def test_a_tokenizer_model_of_another_kind_or_beside_another_model_is_refused(data: Path, tmp_path: Path) -> None:
    shutil.copyfile(data / "tokenizers/barthez-spm-standin/sentencepiece.bpe.model", tmp_path / "tokenizer.model")
    with pytest.raises(SpecMismatch, match=r"of kind unigram; Mistral's is bpe. Download the folder again, or"):
        read_tokenizer(tmp_path, "mistral")
    mistral(tmp_path)
    with pytest.raises(BadFile, match=r"no tokenizer\.json"):
        read_tokenizer(tmp_path, "qwen2")
    (tmp_path / "tokenizer.model").write_bytes((GOLDENS / "sentencepiece_bpe.model").read_bytes()[:999])
    with pytest.raises(BadFile, match="not a sentencepiece model"):
        read_tokenizer(tmp_path, "mistral")
