"""A model folder is written whole or not at all, and read only if it is what was written."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from numpy.testing import assert_array_equal

from qianru.errors import BadFile, BadInput, SpecMismatch, StorageFailed
from qianru.models import files
from qianru.models.files import Stored, fingerprint, read_folder, write_folder

STORED = Stored(
    "demo",
    {"k1": 1.5, "stop_words": ["的", "了"]},
    {"idf": np.array([0.5, 2.0]), "rows": np.arange(6, dtype=np.float32).reshape(2, 3)},
    {"vocabulary": ["嵌入", "向量"]},
    {"tokenizer.json": b"{}"},
    {"words": Stored("inner", {"dim": 3})},
)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    target = tmp_path / "model"
    write_folder(target, STORED)
    return target


def test_what_was_written_is_read(folder: Path) -> None:
    read = read_folder(folder, "demo")
    assert (read.family, dict(read.settings), dict(read.words)) == (STORED.family, STORED.settings, STORED.words)
    assert read.files == STORED.files
    assert read.parts["words"].settings == {"dim": 3}
    for name, array in STORED.arrays.items():
        assert_array_equal(read.arrays[name], array)
        assert read.arrays[name].dtype == array.dtype
    assert fingerprint(read) == fingerprint(STORED)


def test_nothing_else_is_left_beside_the_folder(folder: Path) -> None:
    write_folder(folder, STORED)
    assert names(folder.parent) == ["model"]


@given(st.lists(st.text(st.characters()), unique=True))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_words_may_be_anything(tmp_path: Path, words: list[str]) -> None:
    every = list(dict.fromkeys([*words, "", "\n", "\x00", '"', "\ud83d\ude00", "\ude00"]))
    write_folder(tmp_path / "words", Stored("demo", {}, words={"vocabulary": every}))
    assert read_folder(tmp_path / "words").word_list("vocabulary") == every


@pytest.mark.parametrize(
    "array",
    [np.zeros((0, 4)), np.array(3), np.asfortranarray(np.arange(6).reshape(2, 3)), np.arange(3, dtype=">f4"),
     np.arange(10)[::2]],
    ids=["empty", "single", "by columns", "big-endian", "strided"],
)
def test_arrays_of_any_layout_come_back_alike(tmp_path: Path, array: np.ndarray) -> None:
    stored = Stored("demo", {}, {"a": array})
    write_folder(tmp_path / "m", stored)
    read = read_folder(tmp_path / "m")
    assert_array_equal(read.arrays["a"], array)
    assert fingerprint(read) == fingerprint(stored)


def test_large_arrays_are_mapped_and_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")
    arrays = {f"名{kind}": np.arange(6).reshape(2, 3).astype(kind) for kind in kinds}
    arrays |= {"one": np.array(7.0), "none": np.zeros((0, 4), np.float32), "turned": np.arange(6.0).reshape(2, 3).T,
               "big end": np.arange(3, dtype=">i4")}
    write_folder(tmp_path / "model", Stored("f", {}, arrays))
    monkeypatch.setattr("qianru.models.array_file.WORTH_MAPPING", 0)
    again = read_folder(tmp_path / "model")
    assert set(again.arrays) == set(arrays)
    for name, array in arrays.items():
        assert_array_equal(again.arrays[name], array)
        assert again.arrays[name].dtype == array.dtype.newbyteorder("=")
    assert fingerprint(again) == fingerprint(Stored("f", {}, arrays))
    again.arrays["one"][...] = 8      # a copy of one's own: the file stays as it is
    assert read_folder(tmp_path / "model").arrays["one"] == 7


def test_the_fingerprint_changes_with_anything_that_may_change_vectors() -> None:
    others = [
        Stored("demo2", STORED.settings, STORED.arrays, STORED.words, STORED.files, STORED.parts),
        Stored("demo", {**STORED.settings, "k1": 1.2}, STORED.arrays, STORED.words, STORED.files, STORED.parts),
        Stored("demo", STORED.settings, {**STORED.arrays, "idf": np.array([0.5, 2.1])}, STORED.words, STORED.files,
               STORED.parts),
        Stored("demo", STORED.settings, {**STORED.arrays, "idf": np.array([0.5, 2.0], np.float32)}, STORED.words,
               STORED.files, STORED.parts),
        Stored("demo", STORED.settings, STORED.arrays, {"vocabulary": ["向量", "嵌入"]}, STORED.files, STORED.parts),
        Stored("demo", STORED.settings, STORED.arrays, STORED.words, {"tokenizer.json": b"[]"}, STORED.parts),
        Stored("demo", STORED.settings, STORED.arrays, STORED.words, STORED.files, {}),
    ]
    assert len({fingerprint(stored) for stored in [STORED, *others]}) == len(others) + 1


def test_the_fingerprint_does_not_depend_on_the_order_of_names() -> None:
    turned = Stored("demo", dict(reversed(STORED.settings.items())), dict(reversed(STORED.arrays.items())),
                    STORED.words, STORED.files, STORED.parts)
    assert fingerprint(turned) == fingerprint(STORED)


def test_a_damaged_file_is_named(folder: Path) -> None:
    for path in sorted(folder.rglob("*.*")):
        whole = path.read_bytes()
        for damaged in (whole[: len(whole) // 2], b"", b"\xff" * 64, b"[" * 100_000, whole[:-1] + b"\x00"):
            path.write_bytes(damaged)
            with pytest.raises(BadFile, match=path.parent.name):
                read_folder(folder)
        path.write_bytes(whole)
    read_folder(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "vocabulary.json").unlink()
    with pytest.raises(BadFile, match=r"vocabulary\.json is missing"):
        read_folder(folder)


@pytest.mark.parametrize(
    "header",
    [b"", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", (2).to_bytes(8, "little") + b"{}extra",
     b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,8]}}',
     b'{"a":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}}',
     b'{"a":{"dtype":"F32","shape":[9223372036854775807,9],"data_offsets":[0,8]}}',
     b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}'],
    ids=["nothing", "giant header", "more than told", "wrong size", "no such type in NumPy", "overflow", "overlap"],
)
def test_a_poisoned_array_file_is_refused_even_with_the_right_hash(folder: Path, header: bytes) -> None:
    content = header if not header.startswith(b"{") else len(header).to_bytes(8, "little") + header + b"\x00" * 8
    (folder / "arrays.safetensors").write_bytes(content)
    card = json.loads((folder / "qianru.json").read_text())
    card["files"]["arrays.safetensors"]["sha256"] = files.sha256(content).hexdigest()
    (folder / "qianru.json").write_text(json.dumps(card))
    with pytest.raises(BadFile, match=r"arrays\.safetensors is not a file of arrays"):
        read_folder(folder)


@pytest.mark.parametrize("name", ["../outside.json", "/etc/passwd", "..", ".hidden", "a/b", "qianru.json", ""])
def test_no_name_leads_out_of_the_folder(folder: Path, name: str) -> None:
    card = json.loads((folder / "qianru.json").read_text())
    card["files"][name] = card["files"].pop("vocabulary.json")
    (folder / "qianru.json").write_text(json.dumps(card))
    with pytest.raises(BadFile, match=r"qianru\.json is damaged"):
        read_folder(folder)


def test_a_newer_format_says_what_to_do(folder: Path) -> None:
    card = json.loads((folder / "qianru.json").read_text())
    (folder / "qianru.json").write_text(json.dumps({**card, "format": 2}))
    with pytest.raises(SpecMismatch, match=r"format 2; this version of Qianru reads up to 1\. Upgrade"):
        read_folder(folder)


def test_another_family_is_refused(folder: Path) -> None:
    with pytest.raises(SpecMismatch, match="family 'demo', not bm25 or tfidf"):
        read_folder(folder, "bm25", "tfidf")


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"it has no qianru\.json"):
        read_folder(tmp_path)
    with pytest.raises(BadFile, match=r"it has no qianru\.json"):
        read_folder(tmp_path / "nowhere")


def test_saving_never_deletes_what_no_model_wrote(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(BadInput, match="is not empty and holds no model"):
        write_folder(tmp_path, STORED)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"notes\.txt, which no model wrote"):
        write_folder(folder, STORED)
    with pytest.raises(BadInput, match="is a file"):
        write_folder(folder / "notes.txt", STORED)
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path, folder: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    write_folder(link, Stored("other", {}))
    assert link.is_symlink()
    assert read_folder(folder).family == "other"


def test_a_full_disk_leaves_the_old_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files, "_write_bytes", full)
        with pytest.raises(StorageFailed, match="No space left on device"):
            write_folder(folder, Stored("other", {}))
    assert read_folder(folder).family == "demo"
    assert names(folder.parent) == ["model"]


def test_a_failing_last_step_puts_the_old_model_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def fails_for_the_new(path: Path, target: Path) -> Path:
        if ".new-" in path.name:
            raise OSError(5, "Input/output error")
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", fails_for_the_new)
        with pytest.raises(StorageFailed, match="Input/output error"):
            write_folder(folder, Stored("other", {}))
    assert read_folder(folder).family == "demo"
    assert names(folder.parent) == ["model"]


def test_a_kill_between_the_two_renames_loses_nothing(folder: Path) -> None:
    folder.rename(folder.with_name(".model.old"))
    assert read_folder(folder).family == "demo"
    write_folder(folder, Stored("other", {}))
    assert read_folder(folder).family == "other"
    assert names(folder.parent) == ["model"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_place_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageFailed, match="Permission denied"):
            write_folder(tmp_path / "model", STORED)
    finally:
        tmp_path.chmod(0o700)


def test_a_write_that_the_system_cuts_short_leaves_the_old_model(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    large = Stored("other", {}, {"a": np.zeros(1_000_000)})
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(StorageFailed, match="File too large"):
            write_folder(folder, large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_folder(folder).family == "demo"
    assert names(folder.parent) == ["model"]


def test_settings_and_arrays_are_checked_when_asked_for(folder: Path) -> None:
    read = read_folder(folder)
    assert read.setting("k1", float) == 1.5
    with pytest.raises(SpecMismatch, match="'k1' of type str"):
        read.setting("k1", str)
    with pytest.raises(SpecMismatch, match="'b'"):
        read.setting("b", float)
    assert read.array("rows", (None, 3)).shape == (2, 3)
    with pytest.raises(SpecMismatch, match="'rows' of shape"):
        read.array("rows", (None, 4))
    with pytest.raises(SpecMismatch, match="has none"):
        read.array("columns", (3,))
    with pytest.raises(BadFile, match="not finite"):
        Stored("demo", {}, {"a": np.array([np.nan])}).array("a", (1,))
    with pytest.raises(BadFile, match="a word twice"):
        Stored("demo", {}, words={"v": ["a", "a"]}).word_list("v")
    with pytest.raises(SpecMismatch, match=r"v\.json"):
        Stored("demo", {}).word_list("v")
