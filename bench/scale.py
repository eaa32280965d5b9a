"""What a billion documents take: sizes, machines, time and money, from measured rates and named assumptions.

    python bench/scale.py [--rates bench/rates.json] [--set documents=1e8] [--set price_per_hour=1.2] [--write]

Prints the tables of docs/scale.md, which explains the formulae; tests/test_scale.py holds the two together. Rates come
from bench/rates.py, run on a machine of the kind that is to do the work; `--set` changes a rate or an assumption.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass, fields, replace
from math import ceil, log
from pathlib import Path

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "scale.md"
MODELS = (("small", 512, "4 x 512, e.g. bge-small-zh-v1.5"), ("base", 768, "12 x 768, e.g. bge-base-zh-v1.5"),
          ("large", 1024, "24 x 1024, e.g. bge-m3"))
PRECISIONS = ("bfloat16", "int8")
STORED = {"float16": 2.0, "int8": 1.0, "binary": 1 / 8}     # bytes of a dimension in memory
FULL = 4            # bytes of a dimension on the disk, where the best are scored again
LINK_BYTES = 4
LINKS = 2 * 16      # of a vector in the graph's lowest layer, which has nearly all of them: 2 m
TERM_BYTES = 8      # a posting: number of the document, weight
GB, TB, HOUR = 1e9, 1e12, 3600.0


@dataclass(frozen=True)
class Assumptions:
    """Nothing of this was measured: change what does not fit. Prices are in whatever currency they are given in.

    MEANINGS says what each is.
    """

    documents: float = 1e9
    tokens: float = 200
    characters: float = 250
    bytes_per_character: float = 3
    id_bytes: float = 24
    cores: float = 16
    memory_gb: float = 64
    disk_tb: float = 2
    price_per_hour: float = 0.7
    busy: float = 0.85
    filled: float = 0.75
    days: float = 7
    replicas: float = 2
    far_memory: float = 3


Rates = dict[str, float]
MEANINGS = {
    "documents": "passages", "tokens": "of a passage, mean", "characters": "of a passage, mean",
    "bytes_per_character": "Chinese in UTF-8", "id_bytes": "of a passage's name", "cores": "of a machine",
    "memory_gb": "of a machine", "disk_tb": "of a machine, NVMe", "price_per_hour": "of a machine, in your currency",
    "busy": "part of the time in which a machine computes", "filled": "part of memory and disk that is used",
    "days": "that embedding may take", "replicas": "copies of the index",
    "far_memory": "a graph far larger than the caches, against one that nearly fits",
}


def core_hours(work: float, rate: float, a: Assumptions) -> float:
    """Of one core, for so much work at a rate per second."""
    return work / rate / HOUR / a.busy


def embedding(rates: Rates, a: Assumptions) -> list[list[str]]:
    """Rows: model, precision, tokens per core and second, core hours, machines, cost, size of what comes out."""
    rows = []
    for shape, dim, name in MODELS:
        for precision in PRECISIONS:
            rate = rates[f"{shape}_{precision}_tokens_per_core_s"]
            hours = core_hours(a.documents * a.tokens, rate, a)
            machines = ceil(hours / (a.cores * 24 * a.days))
            size = a.documents * (FULL * dim + 8 + a.id_bytes)
            rows.append([name, precision, f"{rate:,.0f}", f"{hours:,.0f}", f"{machines:,}",
                         f"{hours / a.cores * a.price_per_hour:,.0f}", f"{size / TB:.1f} TB"])
    hours = core_hours(a.documents, rates["bm25_documents_per_core_s"], a)
    rows.append(["BM25", "", "", f"{hours:,.0f}", f"{ceil(hours / (a.cores * 24 * a.days)):,}",
                 f"{hours / a.cores * a.price_per_hour:,.0f}",
                 f"{a.documents * terms(rates, a) * TERM_BYTES / TB:.1f} TB"])
    return rows


def terms(rates: Rates, a: Assumptions) -> float:
    """Of a document's sparse vector."""
    return rates["terms_per_character"] * a.characters


def searching(rates: Rates, a: Assumptions) -> list[list[str]]:
    """Rows: dimensions, what is in memory, its size, disk, machines, cost a month, hours to build, queries a second."""
    rows = []
    on_disk = a.characters * a.bytes_per_character + a.id_bytes + terms(rates, a) * TERM_BYTES
    for _, dim, _ in MODELS:
        for stored, size in STORED.items():
            memory = a.documents * (dim * size + LINKS * LINK_BYTES + 8)
            disk = a.documents * (dim * FULL + on_disk)
            shards = max(ceil(memory / (a.memory_gb * GB * a.filled)), ceil(disk / (a.disk_tb * TB * a.filled)))
            machines = shards * a.replicas
            build = queries = "-"
            if stored == "int8":       # what was measured
                more = dim / rates["hnsw_measured_dim"] * growth(rates, a.documents / shards) * a.far_memory
                per_core = rates["hnsw_build_vectors_per_core_s"] / more
                build = f"{core_hours(a.documents, per_core, a) / (shards * a.cores):,.1f}"
                queries = f"{a.replicas * a.cores * a.busy / (rates['hnsw_query_core_s'] * more):,.0f}"
            rows.append([f"{dim}", stored, f"{memory / TB:.2f} TB", f"{disk / TB:.1f} TB", f"{machines:,.0f}",
                         f"{machines * a.price_per_hour * 730:,.0f}", build, queries])
    return rows


def growth(rates: Rates, n: float) -> float:
    """How much longer a graph of n vectors takes than the one that was measured: by the logarithm of their number."""
    return log(n) / log(rates["hnsw_measured_at"])


def assumptions(a: Assumptions) -> list[list[str]]:
    """Rows: name, value, what it is."""
    return [[field.name, f"{getattr(a, field.name):,.10g}", MEANINGS[field.name]] for field in fields(a)]


def table(header: list[str], rows: list[list[str]], left: int) -> str:
    """As Markdown; the first `left` columns are texts, the others numbers, but for what explains them."""
    rule = ["---" if i < left or header[i] == "what it is" else "---:" for i in range(len(header))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


def tables(rates: Rates, a: Assumptions) -> dict[str, str]:
    """Name -> table."""
    return {
        "assumptions": table(["assumption", "value", "what it is"], assumptions(a), 1),
        "rates": table(["rate", "value"], [[name, f"{value:g}" if value < 1 else f"{value:,.0f}"]
                                           for name, value in rates.items()], 1),
        "embedding": table(["model", "precision", "tokens / core s", "core hours", f"machines for {a.days:g} days",
                            "cost", "output"], embedding(rates, a), 2),
        "searching": table(["dimensions", "in memory", "memory", "disk", "machines", "cost a month", "hours to build",
                            "queries/s"], searching(rates, a), 2),
    }


def write(made: dict[str, str]) -> None:
    """Puts each table of docs/scale.md in place of the one that stands after its name."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, rows in made.items():
        text = re.sub(rf"(<!-- {name} -->\n\n)(?:\|.*\n)*\n*", lambda found, rows=rows: f"{found[1]}{rows}\n\n", text)
    DOCUMENT.write_text(text, encoding="utf-8")


def read_rates(path: Path) -> Rates:
    """What bench/rates.py printed."""
    found: Rates = json.loads(path.read_text(encoding="utf-8"))["rates"]
    return found


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rates", type=Path, default=HERE / "rates.json")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/scale.md")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    rates, known = read_rates(options.rates), Assumptions()
    for change in options.set:
        name, _, value = change.partition("=")
        if name in rates:
            rates[name] = float(value)
        elif name in {field.name for field in fields(known)}:
            known = replace(known, **{name: float(value)})
        else:
            sys.exit(f"There is no rate or assumption '{name}'.")
    made = tables(rates, known)
    if options.write:
        write(made)
    else:
        print("\n\n".join(made.values()))


if __name__ == "__main__":
    main()
