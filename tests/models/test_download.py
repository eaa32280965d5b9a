"""Downloads from servers that misbehave: a file gets its name when it is whole and right; no work is done twice."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from servers import HubServer, cut_off, says, serving, sleeps

from qianru.errors import BadFile, BadInput, ServerFailed, StorageFailed, UnknownName
from qianru.models import download as room
from qianru.models.download import download, is_here, origin, resolve
from qianru.models.web import Patience

WEIGHTS = bytes(range(256)) * 1200      # 300 KB: several blocks, enough to count as progress
CONFIG = b'{"model_type": "bert"}'
MODULES = json.dumps([
    {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
    for i, (path, kind) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")])
]).encode()
FILES = {
    ".gitattributes": b"*.bin filter=lfs", "README.md": "# 模型".encode(), "config.json": CONFIG,
    "modules.json": MODULES, "tokenizer.json": b"{}", "vocab.txt": "的\n".encode(), "modeling_evil.py": b"import os",
    "model.safetensors": WEIGHTS, "pytorch_model.bin": b"pickled" * 999, "onnx/model.onnx": b"onnx" * 999,
    "1_Pooling/config.json": b"{}", "2_Dense/config.json": b"{}", "2_Dense/model.safetensors": WEIGHTS[:5000],
    "2_Dense/pytorch_model.bin": b"pickled" * 999, "2_Dense_512/model.safetensors": WEIGHTS[:6000],
    "training_args.bin": b"pickled" * 999,
}
NEEDED = {"config.json", "modules.json", "tokenizer.json", "vocab.txt", "model.safetensors", "1_Pooling/config.json",
          "2_Dense/config.json", "2_Dense/model.safetensors"}
NAME = "moka-ai/m3e-base"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub that both names lead to, and a cache of its own."""
    server = HubServer({NAME: dict(FILES), "AI-ModelScope/m3e-base": dict(FILES)})
    with serving(server.handler()) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("MODELSCOPE_DOMAIN", address)
        monkeypatch.setenv("QIANRU_CACHE", str(tmp_path / "cache"))
        for name in ("QIANRU_OFFLINE", "HF_HUB_OFFLINE", "HF_TOKEN", "http_proxy", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(room, "PATIENCE", Patience(timeout_s=5, attempts=3, first_wait_s=0.001, longest_wait_s=5))
        yield server


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {"qianru-origin.json"}


def ranges(hub: HubServer) -> list[str | None]:
    """The parts of the weights that were asked for."""
    return [wanted for file, wanted in hub.asked if file == "model.safetensors"]


def test_only_the_files_that_the_model_needs_are_downloaded(hub: HubServer) -> None:
    folder = download(NAME)
    assert contents(folder) == NEEDED
    assert folder.name == "m3e-base"
    assert all((folder / path).read_bytes() == FILES[path] for path in NEEDED)


def test_pickled_weights_and_the_heads_of_bge_m3_come_where_there_are_no_others(hub: HubServer) -> None:
    hub.models["BAAI/bge-m3"] = {"config.json": b"{}", "pytorch_model.bin": WEIGHTS, "sparse_linear.pt": b"s",
                                 "colbert_linear.pt": b"c", "optimizer.pt": b"o", "sentencepiece.bpe.model": b"m"}
    assert contents(download("bge-m3")) == {"config.json", "pytorch_model.bin", "sparse_linear.pt", "colbert_linear.pt",
                                            "sentencepiece.bpe.model"}


def test_a_pooling_without_a_list_of_modules_comes_along(hub: HubServer) -> None:
    hub.models["thenlper/gte-base-zh"] = {"config.json": b"{}", "pytorch_model.bin": WEIGHTS, "vocab.txt": b"x",
                                          "1_Pooling/config.json": b"{}", "2_Other/config.json": b"{}"}
    assert contents(download("gte-base-zh")) == set(hub.models["thenlper/gte-base-zh"]) - {"2_Other/config.json"}


def test_all_shards_and_their_index_come(hub: HubServer) -> None:
    shards = {f"model-0000{i}-of-00002.safetensors": WEIGHTS[:i] for i in (1, 2)}
    hub.models["Qwen/Qwen3-Embedding-4B"] = {"model.safetensors.index.json": b"{}", "config.json": b"{}", **shards}
    assert contents(download("qwen3-embedding-4b")) == {"config.json", "model.safetensors.index.json", *shards}


def test_modelscope_is_asked_in_its_own_way_by_its_own_name(hub: HubServer) -> None:
    del hub.models[NAME]
    folder = download("m3e-base", source="modelscope")
    assert contents(folder) == NEEDED
    assert resolve("m3e-base") == folder == resolve(NAME)
    assert origin(folder) == {"hub": "modelscope", "id": "AI-ModelScope/m3e-base", "revision": "master",
                              "commit": "master"}


def test_the_address_of_a_mirror_is_a_source(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = os.environ["HF_ENDPOINT"]
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")     # nobody is there
    assert contents(download(NAME, source=mirror + "/")) == NEEDED


def test_the_endpoint_is_read_at_the_call(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    there = os.environ["HF_ENDPOINT"]
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ServerFailed, match=r"127.0.0.1:9 failed: Connection refused. Or try --from modelscope"):
        download(NAME)
    monkeypatch.setenv("HF_ENDPOINT", there)
    assert download(NAME).is_dir()


def test_a_second_call_loads_nothing_again(hub: HubServer) -> None:
    folder = download(NAME)
    hub.asked.clear()
    assert download(NAME) == folder
    assert hub.asked == []


def test_a_connection_that_breaks_is_taken_up_where_it_broke(hub: HubServer) -> None:
    hub.tricks["model.safetensors"] = [cut_off(WEIGHTS, 100_000), cut_off(WEIGHTS, 70_000)]
    assert (download(NAME) / "model.safetensors").read_bytes() == WEIGHTS
    assert ranges(hub) == [None, "bytes=100000-", "bytes=170000-"]


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(hub: HubServer) -> None:
    hub.tricks["model.safetensors"] = [cut_off(WEIGHTS, 100_000), says(500), says(500)]
    with pytest.raises(ServerFailed, match="500"):
        download(NAME)
    assert not is_here(NAME)
    hub.asked.clear()
    assert (download(NAME) / "model.safetensors").read_bytes() == WEIGHTS
    assert ranges(hub) == ["bytes=100000-"]


def test_a_server_that_drips_is_given_up(hub: HubServer) -> None:
    hub.tricks["model.safetensors"] = [cut_off(WEIGHTS, 10)] * 9
    with pytest.raises(ServerFailed, match=r"broke off after 30 of 307,200 bytes of model.safetensors"):
        download(NAME)


def test_a_server_that_ignores_the_range_is_read_from_the_start(hub: HubServer) -> None:
    hub.tricks["model.safetensors"] = [cut_off(WEIGHTS, 100_000), says(200, WEIGHTS)]
    assert (download(NAME) / "model.safetensors").read_bytes() == WEIGHTS


def test_a_server_that_goes_on_elsewhere_is_not_believed(hub: HubServer) -> None:
    hub.tricks["model.safetensors"] = [cut_off(WEIGHTS, 100_000),
                                       says(206, WEIGHTS[5:], Content_Range="bytes 5-307199/307200")]
    with pytest.raises(ServerFailed, match="go on at byte 100000 and sends 'bytes 5-307199"):
        download(NAME)


def test_a_file_with_the_wrong_hash_never_gets_its_name(hub: HubServer) -> None:
    hub.tricks["model.safetensors"] = [says(200, WEIGHTS[::-1])]
    with pytest.raises(BadFile, match=r"model.safetensors of moka-ai/m3e-base .* not what it announced: its hash is"):
        download(NAME)
    assert not list(Path(os.environ["QIANRU_CACHE"]).rglob("m3e-base/model.safetensors*"))
    with pytest.raises(BadFile, match="not on this machine"):
        resolve(NAME)


def test_a_small_file_with_the_wrong_hash_is_refused_as_well(hub: HubServer) -> None:
    hub.tricks["config.json"] = [says(200, CONFIG.replace(b"bert", b"BERT"))]
    with pytest.raises(BadFile, match=r"config.json .* its hash"):
        download(NAME)


def test_a_damaged_rest_of_an_earlier_call_is_loaded_anew(hub: HubServer) -> None:
    hub.tricks["model.safetensors"] = [cut_off(WEIGHTS[::-1], 100_000), *[says(500)] * 2]
    with pytest.raises(ServerFailed):
        download(NAME)
    assert (download(NAME) / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("sent", [WEIGHTS + b"more", WEIGHTS[:-1], b"<html>Please log in</html>"])
def test_another_size_than_announced_is_refused_before_it_is_stored(hub: HubServer, sent: bytes) -> None:
    hub.tricks["model.safetensors"] = [says(200, sent)]
    with pytest.raises(BadFile, match=f"announced 307,200 bytes for model.safetensors and sends {len(sent):,}"):
        download(NAME)


def test_an_unknown_model_is_answered_with_the_nearest_known(hub: HubServer) -> None:
    with pytest.raises(UnknownName, match=r"on 127.0.0.1:\d+ 'moka-ai/m3e-bsae'. Did you mean 'moka-ai/m3e-base'"):
        download("moka-ai/m3e-bsae")
    with pytest.raises(UnknownName, match="Did you mean 'm3e-base'"):
        download("m3e-bsae")


def test_a_model_that_only_the_other_hub_has_is_said_to_be_there(hub: HubServer) -> None:
    with pytest.raises(BadInput, match=r"gte-base-en on \S+, but as iic/\S+ on modelscope. Add --from modelscope"):
        download("gte-base-en")
    with pytest.raises(BadInput, match="asked over HTTP"):
        download("text-embedding-3-small")


def test_an_unknown_revision_is_named(hub: HubServer) -> None:
    with pytest.raises(UnknownName, match=r"no revision of moka-ai/m3e-base on \S+ 'v9'"):
        download(NAME, revision="v9")


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/../b", "/etc", "a/b/c", ".ssh/id", "a/.b", "模型/基"])
def test_a_name_that_leads_elsewhere_is_no_name(hub: HubServer, name: str) -> None:
    with pytest.raises(UnknownName):
        download(name)
    with pytest.raises(UnknownName):
        resolve(name)


@pytest.mark.parametrize("path", ["../config.json", "/tmp/config.json", "a/../../config.json", ".git/config.json"])
def test_a_listed_path_that_leads_elsewhere_is_left_out(hub: HubServer, path: str) -> None:
    hub.models[NAME][path] = b"{}"
    assert contents(download(NAME)) == NEEDED


def test_a_model_that_is_not_open_to_all_says_how_to_ask(hub: HubServer) -> None:
    hub.tricks["model.safetensors"] = [says(403, {"error": "Access to model is restricted"}, X_Error_Code="GatedRepo")]
    with pytest.raises(ServerFailed, match=r"restricted.*not open to everybody. Ask for access .* set HF_TOKEN"):
        download(NAME)


def test_the_token_stays_with_the_hub(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    other = HubServer({NAME: dict(FILES)})
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving(other.handler()) as elsewhere:
        cdn = elsewhere.replace("127.0.0.1", "localhost")
        hub.tricks["tokenizer.json"] = [says(302, b"", Location=f"{cdn}/cdn/{NAME}/tokenizer.json")]
        download(NAME)
    assert {token for path, token in hub.tokens if not path.startswith("/cdn")} == {"Bearer hf_secret"}
    assert other.tokens == [(f"/cdn/{NAME}/tokenizer.json", None)]


def test_too_many_requests_are_waited_for_as_the_server_asks(hub: HubServer) -> None:
    hub.tricks[""] = [says(429, {"error": "slow down"}, Retry_After="1")]
    begun = time.monotonic()
    download(NAME)
    assert time.monotonic() - begun >= 1


def test_a_server_that_asks_for_more_patience_than_we_have_is_left(hub: HubServer) -> None:
    hub.tricks[""] = [says(429, {"error": "rate limit"}, Retry_After="3600")]
    with pytest.raises(ServerFailed, match=r"429 .*rate limit.*left alone for 3600 seconds"):
        download(NAME)


def test_a_server_that_sleeps_is_given_up_after_the_timeout(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PATIENCE", Patience(timeout_s=0.1, attempts=2, first_wait_s=0.001))
    hub.tricks[""] = [sleeps(0.4)] * 2
    with pytest.raises(ServerFailed, match=r"127.0.0.1:\d+ sent nothing for 0"):
        download(NAME)


def test_a_server_that_is_all_too_slow_is_left_after_a_while(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def drips(request: Any) -> bool:
        request.send_response(200)
        request.send_header("Content-Length", str(len(WEIGHTS)))
        request.end_headers()
        with suppress(OSError):
            for i in range(40):
                request.wfile.write(WEIGHTS[i : i + 1])
                request.wfile.flush()
                time.sleep(0.02)
        return True

    monkeypatch.setattr(room, "PATIENCE", Patience(timeout_s=0.2, attempts=1))
    hub.tricks["model.safetensors"] = [drips]
    with pytest.raises(ServerFailed, match=r"sent \d+ bytes of model.safetensors in 0 seconds"):
        download(NAME)


def test_a_name_that_cannot_be_resolved_is_told_as_such(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://no-such-host.invalid")
    with pytest.raises(ServerFailed, match=r"no-such-host.invalid cannot be resolved.*online.*--from modelscope"):
        download(NAME)


@pytest.mark.parametrize(("answer", "words"), [
    (says(200, b"<html><body>Log in, guest</body></html>", Content_Type="text/html"), "text/html, not JSON: 'Log in"),
    (says(200, b"[]"), "in a form that is not known here"),
    (says(200, {"sha": "../..", "siblings": []}), "in a form that is not known here"),
    (says(200, {"sha": "0" * 40, "siblings": [{"rfilename": "config.json"}]}), "in a form that is not known here"),
    (says(200, {"sha": "0" * 40, "siblings": []}), "has no weights that Qianru reads"),
])
def test_a_list_of_files_that_is_none_is_told_as_such(hub: HubServer, answer: Any, words: str) -> None:
    hub.tricks[""] = [answer]
    with pytest.raises((ServerFailed, BadFile), match=words):
        download(NAME)


def test_a_file_without_a_hash_is_not_taken(hub: HubServer) -> None:
    hub.tricks[""] = [says(200, {"sha": "0" * 40, "siblings": [{"rfilename": "config.json", "size": 2, "blobId": ""}]})]
    with pytest.raises(BadFile, match=r"gives no hash for config.json"):
        download(NAME)


def test_offline_takes_what_is_there_and_names_the_command_otherwise(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadFile, match=r"not on this machine. Download it with: qianru download m3e-base$"):
        download("m3e-base", offline=True)
    folder = download("m3e-base")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert download("m3e-base", offline=True) == folder
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert download("m3e-base") == folder


def test_a_model_that_is_not_there_is_answered_with_the_command(hub: HubServer) -> None:
    with pytest.raises(BadFile, match=r"qianru download gte-base-en --from modelscope$"):
        resolve("gte-base-en")
    with pytest.raises(BadFile, match=r"qianru download somebody/something$"):
        resolve("somebody/something")
    with pytest.raises(UnknownName, match="Did you mean 'bge-m3'"):
        resolve("bge-m4")
    with pytest.raises(BadInput, match="remote:text-embedding-3-large"):
        resolve("text-embedding-3-large")
    assert hub.tokens == []          # asking for what is there opens no connection


def test_a_file_that_went_missing_is_mended_by_downloading_again(hub: HubServer) -> None:
    folder = download(NAME)
    (folder / "config.json").write_bytes(b"")
    with pytest.raises(BadFile, match=r"config.json is not as it was downloaded. Mend it with: qianru download"):
        resolve(NAME)
    hub.asked.clear()
    assert download(NAME) == folder == resolve(NAME)
    assert hub.asked == [("config.json", None)]


def test_when_only_a_setting_changes_the_weights_are_not_loaded_again(hub: HubServer) -> None:
    old = download(NAME)
    hub.models[NAME]["config.json"] = b'{"model_type": "bert", "new": true}'
    hub.asked.clear()
    new = download(NAME)
    assert new != old
    assert resolve(NAME) == new
    assert [file for file, _ in hub.asked] == ["config.json"]
    assert (old / "config.json").read_bytes() == CONFIG         # who reads it is not disturbed


def test_progress_counts_bytes_up_to_the_total(hub: HubServer) -> None:
    seen: list[tuple[int, int | None]] = []
    hub.tricks["model.safetensors"] = [cut_off(WEIGHTS, 100_000)]
    download(NAME, progress=lambda done, total: seen.append((done, total)))
    total = sum(len(FILES[path]) for path in NEEDED)
    assert {of for _, of in seen} == {total}
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_disk_without_room_is_told_before_anything_is_loaded(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "SPARE_BYTES", 1 << 60)
    with pytest.raises(StorageFailed, match=r"still to be downloaded .* Free some space, or set QIANRU_CACHE"):
        download(NAME)
    assert hub.asked == []


def test_a_disk_that_fills_up_keeps_what_came(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.FileIO):
        def write(self, block: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode="r", **more:
                        Full(path, "a+") if path.name == "model.safetensors.part" else opened(path, mode, **more))
    with pytest.raises(StorageFailed, match=r"No space left on device. What was downloaded so far is kept"):
        download(NAME)
    monkeypatch.undo()


def test_a_cache_that_cannot_be_written_names_the_variable(hub: HubServer, monkeypatch: pytest.MonkeyPatch,
                                                          tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QIANRU_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageFailed, match="Set QIANRU_CACHE"):
        download(NAME)


def start() -> subprocess.Popen[str]:
    program = f"from qianru.models.download import download; print(download('{NAME}'))"
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_load_each_file_once(hub: HubServer) -> None:
    def slowly(request: Any) -> bool:
        time.sleep(0.5)
        return False

    hub.tricks["model.safetensors"] = [slowly]
    both = [start(), start()]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert [file for file, _ in hub.asked].count("model.safetensors") == 1


def came() -> int:
    """How much of the weights is on the disk."""
    parts = Path(os.environ["QIANRU_CACHE"]).rglob("m3e-base/model.safetensors.part")
    return max((part.stat().st_size for part in parts), default=0)


def test_a_kill_in_the_middle_costs_only_what_was_not_there_yet(hub: HubServer) -> None:
    def stuck(request: Any) -> bool:
        cut = 200_000
        request.send_response(200)
        request.send_header("Content-Length", str(len(WEIGHTS)))
        request.end_headers()
        request.wfile.write(WEIGHTS[:cut])
        request.wfile.flush()
        time.sleep(5)
        return True

    hub.tricks["model.safetensors"] = [stuck]
    process = start()
    deadline = time.monotonic() + 30
    try:
        while time.monotonic() < deadline and came() <= 100_000:
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert not is_here(NAME)
    hub.asked.clear()
    assert (download(NAME) / "model.safetensors").read_bytes() == WEIGHTS
    [wanted] = ranges(hub)
    assert wanted is not None
    assert int(wanted.removeprefix("bytes=").rstrip("-")) > 100_000
