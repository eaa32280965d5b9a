"""The cache of vectors: what is there is not made again, whatever happens to its files."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from golden_tasks import Hashed, hashed
from numpy.testing import assert_array_equal
from test_search import Everything

from qianru.evaluate.encode import Encoder
from qianru.evaluate.vector_cache import VectorCache
from qianru.models.bm25 import BM25
from qianru.types import Embeddings, Kind, Progress, Role

TEXTS = [f"第{i}句诗" for i in range(300)]


class Counting(Hashed):
    """Counts what it is asked; cuts texts longer than five characters."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Iterable[str], *, role: Role = "document", kinds: Sequence[Kind] | None = None,
               instruction: str | None = None, progress: Progress | None = None) -> Embeddings:
        listed = list(texts)
        self.asked += listed
        lengths = np.array([len(text) for text in listed], np.int64)
        return Embeddings("counting", lengths, int((lengths > 5).sum()), dense=hashed([text[:5] for text in listed]))


def encoder(model: Counting, cache: VectorCache | None) -> Encoder:
    return Encoder(model, ("dense",), cache=cache)


def test_a_text_is_embedded_once(tmp_path: Path) -> None:
    model = Counting()
    first = encoder(model, VectorCache(tmp_path)).encode(TEXTS)
    again = encoder(model, VectorCache(tmp_path))          # as another process would open it
    second = again.encode([*TEXTS[::-1], "新句"])
    assert model.asked == [*TEXTS, "新句"]
    assert first.dense is not None
    assert second.dense is not None
    assert_array_equal(second.dense[:300], first.dense[::-1])
    assert_array_equal(second.dense[300], hashed(["新句"])[0])


def test_texts_that_were_cut_stay_counted(tmp_path: Path) -> None:
    long = [text for text in TEXTS if len(text) > 5]
    for _ in range(2):
        one = encoder(Counting(), VectorCache(tmp_path))
        one.encode(TEXTS)
        assert one.n_truncated == len(long) == 200
    part = encoder(Counting(), VectorCache(tmp_path))
    part.encode([*long[:3], *TEXTS[:4]])
    assert part.n_truncated == 3


def test_role_instruction_kinds_and_model_keep_apart(tmp_path: Path) -> None:
    model, cache = Counting(), VectorCache(tmp_path)
    encoder(model, cache).encode(["春"], "document")
    encoder(model, cache).encode(["春"], "query")
    Encoder(model, ("dense",), "找诗", cache).encode(["春"], "query")
    assert model.asked == ["春"] * 3
    Encoder(model, ("dense",), "找诗", cache).encode(["春"], "document")      # an instruction is for queries alone
    assert model.asked == ["春"] * 3


@pytest.mark.parametrize("kinds", [("dense",), ("sparse", "multi"), ("dense", "sparse", "multi")])
def test_all_kinds_come_back_as_they_were(tmp_path: Path, kinds: tuple[Kind, ...]) -> None:
    plain = Encoder(Everything(), kinds).encode(TEXTS)
    for _ in range(2):
        cached = Encoder(Everything(), kinds, cache=VectorCache(tmp_path)).encode(TEXTS)
        for one, other in ((plain.dense, cached.dense), (plain.sparse and plain.sparse.to_dense(),
                           cached.sparse and cached.sparse.to_dense()), (plain.multi and plain.multi.data,
                           cached.multi and cached.multi.data)):
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                assert_array_equal(one, other)


def segments(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def test_a_flipped_bit_is_found_and_the_texts_embedded_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    encoder(Counting(), VectorCache(tmp_path)).encode(TEXTS)
    (path,) = segments(tmp_path)
    content = bytearray(path.read_bytes())
    content[-100] ^= 4
    path.write_bytes(content)
    model = Counting()
    made = encoder(model, VectorCache(tmp_path)).encode(TEXTS)
    assert model.asked == TEXTS
    assert "damaged" in caplog.text
    assert made.dense is not None
    assert_array_equal(made.dense, hashed([text[:5] for text in TEXTS]))


@pytest.mark.parametrize("content", [b"", b"nonsense", None], ids=["empty", "foreign", "gone"])
def test_a_file_that_is_no_segment_is_replaced(tmp_path: Path, content: bytes | None) -> None:
    cache = VectorCache(tmp_path)
    encoder(Counting(), cache).encode(TEXTS)
    (path,) = segments(tmp_path)
    path.unlink() if content is None else path.write_bytes(content)
    for one in (cache, VectorCache(tmp_path)):      # one that knew the segment, and one that opens it
        model = Counting()
        fresh = one.space(model, "document", None, ("dense",))
        fresh._loaded = None
        made = encoder(model, one).encode(TEXTS)
        assert made.dense is not None
        assert_array_equal(made.dense[7], hashed([TEXTS[7][:5]])[0])


def test_what_was_not_read_for_longest_goes_first(tmp_path: Path) -> None:
    size = 300 * 256 * 4
    cache = VectorCache(tmp_path, limit_bytes=3 * size)
    for part in range(3):
        encoder(Counting(), cache).encode([f"{part}-{text}" for text in TEXTS])
    oldest = min(segments(tmp_path), key=lambda path: path.stat().st_mtime_ns)
    encoder(Counting(), cache).encode([f"3-{text}" for text in TEXTS])
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= 3 * size
    assert not oldest.exists()


def test_two_that_write_at_once_do_no_harm(tmp_path: Path) -> None:
    def work() -> None:
        encoder(Counting(), VectorCache(tmp_path, limit_bytes=1 << 20)).encode(TEXTS)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    model = Counting()
    made = encoder(model, VectorCache(tmp_path)).encode(TEXTS)
    assert made.dense is not None
    assert_array_equal(made.dense, hashed([text[:5] for text in TEXTS]))


def test_a_folder_that_cannot_be_written_ends_storing_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    made = encoder(Counting(), VectorCache(tmp_path / "file" / "cache")).encode(TEXTS[:3])
    assert len(made) == 3
    assert "not kept" in caplog.text


def test_models_that_learn_are_never_cached(tmp_path: Path) -> None:
    Encoder(BM25().fit(TEXTS), ("sparse",), cache=VectorCache(tmp_path)).encode(TEXTS[:5])
    assert not segments(tmp_path)
