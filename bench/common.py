"""What all benchmarks share: the data, the machine's description, repeated timing, one line of JSON at the end."""

from __future__ import annotations

import gzip
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def data_folder() -> Path:
    """The folder of real data, or an exit that says how to name it."""
    folder = Path(os.environ.get("QIANRU_DATA", HERE.parent.parent / "shared" / "data"))
    if not (folder / "MANIFEST.md").is_file():
        sys.exit("The real data is not here: set QIANRU_DATA to the folder that holds its MANIFEST.md.")
    return folder


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, unpacked if it ends in .gz."""
    return gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text(encoding="utf-8")


def timed(work: Callable[[], Any], repeats: int = 5, warm_up: int = 1) -> dict[str, float]:
    """Seconds: median, fastest and slowest of the repeats, after a warm-up."""
    for _ in range(warm_up):
        work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return {"median_s": statistics.median(seconds), "min_s": min(seconds), "max_s": max(seconds), "n": repeats}


def percentiles_ms(seconds: list[float]) -> dict[str, float]:
    """p50 and p99 of single latencies, in milliseconds."""
    ordered = sorted(seconds)
    return {f"p{p}_ms": round(ordered[min(len(ordered) - 1, len(ordered) * p // 100)] * 1e3, 4) for p in (50, 99)}


def peak_rss_mb() -> float:
    """The largest resident memory of this process so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def machine() -> str:
    """Processor and cores."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def report(name: str, packages: list[str], **figures: Any) -> None:
    """Prints one line of JSON: what was measured, where, with which versions."""
    line = {
        "benchmark": name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": {package: version(package) for package in packages},
        **figures,
    }
    print(json.dumps(line, ensure_ascii=False))
