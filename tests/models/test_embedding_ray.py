"""The same job on Ray: the same files, also where a worker is killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from qianru.errors import BadInput, MissingExtra, ModelMismatch, QianruError, UnknownName
from qianru.models.embedding_ray import Cluster, _same_error, embed_on_ray
from qianru.models.lexical import Counts

POEMS = ["床前明月光", "疑是地上霜", "举头望明月", "低头思故乡", "春眠不觉晓"]
HAS_RAY = all(find_spec(name) is not None for name in ("ray", "pandas"))
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="needs Ray Data: pip install 'qianru[ray]'")
SLOW_MODEL = '''
"""A model that takes its time, so that a worker can be killed while it works."""
import time
from pathlib import Path
from qianru.models.lexical import Counts

class Slow(Counts):
    def encode(self, texts, **options):
        time.sleep(0.5)
        return super().encode(texts, **options)

def load():
    return Slow().fit(["床前明月光，疑是地上霜", "举头望明月，低头思故乡"])

def texts(problems):
    problems.append("poems.txt:9: not readable")
    return [(f"poems.txt:{i}", line) for i, line in enumerate(Path("poems.txt").read_text("utf-8").split("\\n"), 1)]
'''
SCRIPT = '''
import json, sys
from pathlib import Path
import slow_model
from qianru.models.embedding_folder import EmbedPlan
from qianru.models.embedding_ray import Cluster, embed_on_ray

if __name__ == "__main__":
    told = []
    report = embed_on_ray(Path("ray"), slow_model.load, slow_model.texts, EmbedPlan(shard_texts=10), Cluster(2),
                          on_problem=told.append)
    print(json.dumps([report.n_texts, report.n_before, report.n_shards, told]))
'''
LOST_NODE = '''
import os, threading, time
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
from pathlib import Path
import ray
import slow_model
from ray.cluster_utils import Cluster as Nodes
from qianru.models.embedding_folder import EmbedPlan
from qianru.models.embedding_ray import Cluster, embed_on_ray

def lose(nodes, node):
    while not Path("ray/00010.safetensors").exists():
        time.sleep(0.05)
    nodes.remove_node(node, allow_graceful=False)
    print("lost", flush=True)

if __name__ == "__main__":
    own = {"num_cpus": 1, "object_store_memory": 150 << 20}
    nodes = Nodes(initialize_head=True, head_node_args={"include_dashboard": False, **own})
    other = nodes.add_node(**own)
    ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
    threading.Thread(target=lose, args=(nodes, other), daemon=True).start()
    report = embed_on_ray(Path("ray"), slow_model.load, slow_model.texts, EmbedPlan(shard_texts=10), Cluster(2))
    print(report.n_texts, report.n_shards, flush=True)
    ray.shutdown()
    nodes.shutdown()
'''


def test_what_a_worker_cannot_do_is_the_same_error_here() -> None:
    error = _same_error("UnknownName", "There is no column 'x'.")
    assert isinstance(error, UnknownName)
    assert str(error) == "There is no column 'x'."
    assert type(_same_error("Nonsense", "x")) is QianruError


@pytest.mark.parametrize("options", [{"workers": 0}, {"cpus": -1}, {"cpus": 0}])
def test_a_cluster_needs_workers_and_processors(options: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="At least one worker"):
        Cluster(**options)   # type: ignore[arg-type]


@pytest.mark.skipif(HAS_RAY, reason="Ray is here")
def test_without_ray_the_error_names_the_extra(tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'qianru\[ray\]'"):
        embed_on_ray(tmp_path / "v", lambda: Counts().fit(POEMS), lambda problems: [("1", "明月")])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with 400 lines, a slow model and the same lines embedded without Ray."""
    (tmp_path / "slow_model.py").write_text(SLOW_MODEL, "utf-8")
    (tmp_path / "script.py").write_text(SCRIPT, "utf-8")
    (tmp_path / "poems.txt").write_text("\n".join(f"{POEMS[i % 5]}{i}" for i in range(400)), "utf-8")
    Counts().fit(["床前明月光，疑是地上霜", "举头望明月，低头思故乡"]).save(tmp_path / "counts")
    command = ["embed", "poems.txt", "-o", "plain", "-m", "counts", "--shard-texts", "10"]
    subprocess.run([sys.executable, "-m", "qianru", *command], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def processes_of(marker: str, what: str) -> list[tuple[int, str]]:
    """(pid, command line) of Ray's processes of a kind that were started with that marker in their environment.

    Each must have been told to send no statistics.
    """
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            environment, line = process.environ(), " ".join(process.cmdline())
            if environment.get("QIANRU_TEST") == marker and what in line:
                assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
                found.append((process.pid, line))
        except psutil.Error:
            continue
    return found


@needs_ray
@pytest.mark.slow
def test_a_worker_killed_in_the_middle_changes_nothing(place: Path) -> None:
    environment = {**os.environ, "QIANRU_TEST": str(place), "PYTHONPATH": os.pathsep.join(
        [str(place), str(Path(__file__).parent.parent.parent), os.environ.get("PYTHONPATH", "")])}
    running = subprocess.Popen([sys.executable, "script.py"], cwd=place, env=environment, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 90
    while not (place / "ray" / "00008.safetensors").exists():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = processes_of(str(place), "MapWorker")
    assert len(workers) == 2
    assert all("--disable-frontend" in line for _, line in processes_of(str(place), "dashboard.py"))
    os.kill(workers[0][0], signal.SIGKILL)
    assert len(files(place / "ray")) < 40          # in the middle indeed
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    assert json.loads(out.splitlines()[-1]) == [400, 0, 40, ["poems.txt:9: not readable"]]
    plain, made = files(place / "plain"), files(place / "ray")
    assert made.keys() == plain.keys()
    assert [name for name in plain if name != "manifest.json" and made[name] != plain[name]] == []
    ids = [name for shard in json.loads(made["manifest.json"])["shards"]
           for name in json.loads(_header(place / "ray" / shard["file"]))["ids"]]
    assert ids == [f"poems.txt:{i}" for i in range(1, 401)]


@needs_ray
@pytest.mark.slow
def test_a_machine_lost_in_the_middle_changes_nothing(place: Path) -> None:
    """Two nodes of one processor each; one goes without a word, with the worker on it."""
    (place / "lost.py").write_text(LOST_NODE, "utf-8")
    paths = [str(place), str(Path(__file__).parent.parent.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run([sys.executable, "lost.py"], cwd=place, capture_output=True, text=True, timeout=270,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line in ("lost", "400 40")] == ["lost", "400 40"]
    plain, made = files(place / "plain"), files(place / "ray")
    assert made.keys() == plain.keys()
    assert [name for name in plain if name != "manifest.json" and made[name] != plain[name]] == []


def _header(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return str(file.metadata()["qianru"])


@needs_ray
@pytest.mark.slow
def test_the_command_goes_on_where_it_was_and_tells_what_is_wrong(place: Path) -> None:
    environment = {**os.environ, "QIANRU_TEST": str(place)}

    def qianru(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["embed", "poems.txt", "-m", "counts", "--ray", *arguments]
        return subprocess.run([sys.executable, "-m", "qianru", *command], cwd=place, env=environment,
                              capture_output=True, text=True, timeout=120)

    for number in range(5, 40):
        (place / "plain" / f"{number:05d}.safetensors").unlink()
    expected = json.loads((place / "plain" / "manifest.json").read_text())
    done = qianru("-o", "plain", "--shard-texts", "10", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) | {"problems": []} == {
        "folder": "plain", "n_texts": 400, "n_embedded_before": 50, "n_truncated": 0, "n_shards": 40, "problems": []}
    assert json.loads((place / "plain" / "manifest.json").read_text()) == expected
    (place / "poems.txt").write_text("明月", "utf-8")
    changed = qianru("-o", "plain", "--shard-texts", "10")
    assert changed.returncode == 1
    assert "error: plain/00000.safetensors holds the vectors of other texts" in changed.stderr


@needs_ray
def test_another_model_than_the_folders_is_refused_before_ray_is_started(tmp_path: Path) -> None:
    from qianru.models.embedding_folder import embed_to

    embed_to(tmp_path / "v", Counts().fit(POEMS), [("1", "明月")])
    with pytest.raises(ModelMismatch, match="was begun with the fingerprint"):
        embed_on_ray(tmp_path / "v", lambda: Counts().fit(["别的"]), lambda problems: [("1", "明月")])
