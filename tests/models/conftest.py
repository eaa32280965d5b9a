"""Every model family, fitted, in one place: a new family is one line here and passes the contract suite."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import tiny
from decoder_checkpoints import tiny_decoder
from servers import EmbeddingServer, serve_on
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from qianru.models.bm25 import BM25
from qianru.models.joined import JoinedModel
from qianru.models.lexical import Counts, TfIdf
from qianru.models.lsa import LSA
from qianru.models.pooling import Pooling
from qianru.models.remote import RemoteModel
from qianru.models.static import StaticModel
from qianru.models.transformer import Transformer
from qianru.models.vectors import WordVectors
from qianru.models.word2vec import Word2Vec
from qianru.models.word_vector_model import WordVectorModel
from qianru.runtime.options import Runtime
from qianru.text.analyze import Analyzer

CORPUS = [
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。",
    "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。",
    "我不爱吃蔬菜，我喜欢吃肉。",
    "我不爱吃肉，我爱吃蔬菜。",
    "明月几时有，把酒问青天。",
    "不知天上宫阙，今夕是何年。",
    "An embedding is a list of numbers that stands for a text.",
    "Texts that mean the same have embeddings that lie close together.",
    "向量检索把文字变成数字，再找最近的邻居。",
    "明月松间照，清泉石上流。",
]

def word_vectors() -> WordVectors:
    """Characters of the corpus with vectors drawn at random."""
    words = sorted(set("".join(CORPUS)))
    return WordVectors(words, np.random.default_rng(5).standard_normal((len(words), 8)))


def static(**options: Any) -> StaticModel:
    """A table for a tokenizer whose tokens are the characters of the corpus."""
    characters = sorted(set("".join(CORPUS).replace(" ", "")))
    tokenizer = Tokenizer(WordPiece({"[UNK]": 0, **{c: i for i, c in enumerate(characters, 1)}}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.normalizer = BertNormalizer()
    table = np.random.default_rng(6).standard_normal((len(characters) + 1, 8)).astype(np.float32)
    return StaticModel(table, tokenizer.to_str().encode(), **options)


def one_thread() -> None:
    """Skips without torch. One thread for the whole run: two that wait for each other take ten times as long."""
    torch = pytest.importorskip("torch", reason="transformer models need torch: pip install 'qianru[torch]'")
    torch.set_num_threads(1)


def transformer(**options: Any) -> Transformer:
    """A BERT of two small layers with weights drawn at random."""
    one_thread()
    with tempfile.TemporaryDirectory() as folder:
        return Transformer.load(tiny(Path(folder) / "tiny"), Runtime(precision="float32", **options))


def decoder(**config: Any) -> Transformer:
    """A Mistral of two small layers with weights drawn at random."""
    one_thread()
    with tempfile.TemporaryDirectory() as folder:
        return Transformer.load(tiny_decoder(Path(folder) / "tiny", **config), Runtime(precision="float32"))


def remote() -> RemoteModel:
    """A model behind a server of this process."""
    return RemoteModel("some-model", serve_on(EmbeddingServer().handler()) + "/v1", key_variable="NO_KEY")


FAMILIES: dict[str, Callable[[], Any]] = {
    "counts": lambda: Counts().fit(CORPUS),
    "binary counts": lambda: Counts(binary=True).fit(CORPUS),
    "character 1-3-grams": lambda: Counts(Analyzer(unit="char", ngrams=(1, 3))).fit(CORPUS),
    "tfidf": lambda: TfIdf(sublinear_tf=True).fit(CORPUS),
    "word 1-2-gram tfidf": lambda: TfIdf(Analyzer(ngrams=(1, 2)), norm=None).fit(CORPUS),
    "lsa": lambda: LSA(4).fit(CORPUS),
    "bm25": lambda: BM25().fit(CORPUS),
    "bm25+": lambda: BM25(variant="bm25+", k1=1.2, b=0.5, delta=0.5).fit(CORPUS),
    "empty bm25": BM25,
    "word2vec": lambda: Word2Vec(8, min_count=1, epochs=2).fit(CORPUS),
    "word2vec, sif": lambda: Word2Vec(4, pooling=Pooling("sif", remove_common=True), min_count=1, epochs=1).fit(CORPUS),
    "word vectors": lambda: WordVectorModel(word_vectors()),
    "word vectors, sif": lambda: WordVectorModel(word_vectors(), pooling=Pooling("sif")).fit(CORPUS),
    "static": static,
    "static, normalized": lambda: static(normalized=True, drop_unknown=False),
    "static, sif": lambda: static().with_sif(CORPUS),
    "transformer": transformer,
    "transformer, cut and normalized": lambda: transformer(truncate_dim=8, normalize=True, max_tokens=16),
    "decoder": decoder,
    "remote": remote,
    "joined": lambda: JoinedModel([BM25().fit(CORPUS), WordVectorModel(word_vectors())]),
}
"""name -> a fitted model, small enough to be made for every test."""


@pytest.fixture(scope="session", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    """Each family in turn; not to be changed by a test."""
    return FAMILIES[request.param]()
