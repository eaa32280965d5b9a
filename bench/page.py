"""The page in headless Chromium: frames a second while a map is panned, and what its first view takes over the wire.

    python bench/page.py [--points 50000] [--seconds 3]

Points lie in 24 clusters; the mouse pans in circles over the whole map, then zoomed in. A frame is one call of
requestAnimationFrame in which the map has been drawn; the longest gap that 95 of 100 frames keep to is told too. Beside
it the same points drawn otherwise, in the same browser: as filled rectangles, and by WebGL. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "serve"))
RIVALS = Path(__file__).with_name("page_rivals.html")
RUNS = 5
WIDTH, HEIGHT = 1280, 900
FRAMES = """(seconds) => new Promise((done) => {
    const times = [];
    const canvas = document.querySelector('.plot canvas');
    const box = canvas.getBoundingClientRect();
    const fire = (name, x, y) => canvas.dispatchEvent(new PointerEvent(name, {
        clientX: box.left + x, clientY: box.top + y, pointerId: 1, button: 0, bubbles: true}));
    canvas.setPointerCapture = () => {};
    fire('pointerdown', 300, 300);
    let n = 0;
    const step = (now) => {
        times.push(now); n += 1;
        fire('pointermove', 300 + 150 * Math.sin(n / 15), 300 + 100 * Math.cos(n / 15));
        if (now - times[0] < seconds * 1000) requestAnimationFrame(step);
        else { fire('pointerup', 0, 0); done(times); }
    };
    requestAnimationFrame(step);
})"""


def points(n: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) places and (n,) clusters."""
    generator = np.random.default_rng(0)
    clusters = generator.integers(0, 24, n)
    return (generator.normal(size=(24, 2)) * 0.5)[clusters] + generator.normal(size=(n, 2)) * 0.12, clusters


def frames(times: list[float]) -> tuple[float, float]:
    """(frames a second, the gap in ms that 95 of 100 keep to)."""
    gaps = np.diff(times)
    return 1000 / float(gaps.mean()), float(np.quantile(gaps, 0.95))


def middle(runs: list[tuple[float, float]]) -> dict[str, Any]:
    """Median and spread of several runs."""
    rates = [rate for rate, _ in runs]
    return {"fps": round(statistics.median(rates), 1), "fps_spread": [round(min(rates), 1), round(max(rates), 1)],
            "gap95_ms": round(statistics.median([gap for _, gap in runs]), 1)}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--chromium", default=os.environ.get("QIANRU_CHROMIUM") or shutil.which("chromium"))
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright
    from stand_in import served, stand_in

    from qianru.index.collection import Collection

    places, clusters = points(args.points)
    told = {
        "points": base64.b64encode(places.astype("<f4").tobytes()).decode(),
        "clusters": base64.b64encode(clusters.astype("<i2").tobytes()).decode(),
        "ids": [str(i) for i in range(args.points)], "titles": [f"第 {i} 篇" for i in range(args.points)],
        "labels": [{"cluster": c, "words": [f"词{c}", f"语{c}"], "x": float(places[clusters == c, 0].mean()),
                    "y": float(places[clusters == c, 1].mean()), "size": int((clusters == c).sum())}
                   for c in range(24)],
    }
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, Collection.create(Path(folder) / "c", "bm25") as one:
        one.add(["明月"])
        with served(stand_in({"c": one}, maps={"c": told})) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            page.goto(f"{address}/ui/")
            page.wait_for_load_state("networkidle")
            sizes = page.evaluate("performance.getEntries().filter(e => e.transferSize).map(e => e.transferSize)")
            figures["first_view"] = {"bytes": sum(sizes), "requests": len(sizes)}
            page.goto(f"{address}/ui/#/map")
            page.wait_for_selector(".cluster", timeout=120_000)
            for name, zoom in (("whole", 0), ("zoomed", 5)):
                for _ in range(zoom):
                    page.locator(".plot-tools button").nth(1).click()
                page.evaluate(FRAMES, 1)
                figures[name] = middle([frames(page.evaluate(FRAMES, args.seconds)) for _ in range(RUNS)])
            version = browser.version
            page.close()
            colours = np.random.default_rng(1).integers(0, 200, (24, 3)).tolist()
            for way in ("rectangles", "webgl"):
                rival = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
                rival.goto(RIVALS.as_uri())
                rival.evaluate(f"([xy, clusters, colours]) => {way}(xy, clusters, colours)",
                               [places.ravel().round(4).tolist(), clusters.tolist(), colours])
                rival.evaluate("run(1)")
                figures[way] = middle([frames(rival.evaluate(f"run({args.seconds})")) for _ in range(RUNS)])
                rival.close()
            browser.close()
    print(json.dumps({"bench": "page", "points": args.points, "machine": platform.machine(), "cores": os.cpu_count(),
                      "chromium": version, "runs": RUNS, "seconds": args.seconds, **figures}))


if __name__ == "__main__":
    main()
