"""qianru bench-server: load on a running server, and what users would wait."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from qianru.cli.comparing import texts_named
from qianru.cli.options import AsJson, Encoding, examples
from qianru.cli.terminal import note, show, show_json
from qianru.errors import BadInput

SERVE = "Serve"
SAMPLE = (
    "怎样申请退款", "这个多少钱", "明月几时有", "违约金过高怎么办", "春眠不觉晓，处处闻啼鸟。",
    "第五百零九条 当事人应当按照约定全面履行自己的义务。当事人应当遵循诚信原则，履行通知、协助、保密等义务。",
    "What is the difference between dense and sparse retrieval?", "How do I find my card at the bank?",
)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("bench-server", rich_help_panel=SERVE, epilog=examples(
        "qianru bench-server --rate 50 --seconds 30 --texts questions.txt --plot latency.png",
        "qianru bench-server --clients 64 --model m3e-base",
        "qianru bench-server http://localhost:9000 --path /collections/laws/search --rate 20 --json",
    ))(bench_server)


def bench_server(
    url: Annotated[str, typer.Argument(help="Of the server.")] = "http://127.0.0.1:8000",
    rate: Annotated[
        float | None, typer.Option(min=0.01, metavar="N", show_default=False,
                                   help="Requests a second, at moments drawn by chance, whatever becomes of them.")
    ] = None,
    clients: Annotated[
        int | None, typer.Option(min=1, metavar="N", show_default=False,
                                 help="Instead: so many clients, each asking again when it is answered.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long.")] = 20.0,
    texts: Annotated[
        list[str] | None, typer.Option(metavar="FILE", show_default=False,
                                       help="Real ones, a line or row each: lengths decide; else eight of ours.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The server's name for it; else its first.", show_default=False)
    ] = None,
    path: Annotated[str, typer.Option(help="The route: this, /embed or /collections/NAME/search.")] = "/v1/embeddings",
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw latencies to a .png, .svg or .pdf.", show_default=False)
    ] = None,
    encoding: Encoding = None,
    as_json: AsJson = False,
) -> None:
    """Put load on a running server and report what requests waited. Its key, if it asks for one: $QIANRU_API_KEY.

    With --rate the questions come when they come, as from users: a slow answer does not keep the next one from being
    asked. With --clients the server's capacity shows.
    """
    from qianru.models import environment
    from qianru.serve import load
    from qianru.use.plot import picture_path

    key = environment.secret("QIANRU_API_KEY")
    if plot is not None:
        picture_path(plot)
    if (rate is None) == (clients is None):
        raise BadInput("Give --rate, requests a second as from users, or --clients, who ask one after another.")
    given = [text for name in texts or () for text in texts_named(name, encoding)] or list(SAMPLE)
    target = load.Target.parse(url, path, key)

    async def whole() -> tuple[str, Any]:
        name = model or (await first_model(url, key) if path == "/v1/embeddings" else "")
        requests = [target.request(body) for body in load.bodies(given, name, path)]
        await load.checked(target, requests[0])
        note(f"{seconds:g} seconds of " + (f"{rate:g} requests a second" if rate else f"{clients} clients")
             + f" on {url}{path}, {len(given):,} texts")
        if rate is not None:
            return name, await load.open_loop(target, requests, rate, seconds)
        return name, await load.closed_loop(target, requests, clients or 1, seconds, warm_up_s=min(2.0, seconds / 5))

    name, outcome = load.run(whole)
    told = {"url": url, "path": path, **({"model": name} if name else {}), "rate": rate, "clients": clients,
            "seconds": seconds, "texts": len(given), **outcome.report()}
    if plot is not None:
        from qianru.serve.load_plot import draw

        draw(outcome, plot, f"{url}{path}: " + (f"{rate:g} requests a second" if rate else f"{clients} clients"))
        note(f"Drawn to {plot}.")
    if as_json:
        show_json(told)
    else:
        show(*(f"{label:<20} {told[field]}" for label, field in (
            ("requests", "requests"), ("answered a second", "requests_per_s"), ("half within, ms", "p50_ms"),
            ("90 % within, ms", "p90_ms"), ("99 % within, ms", "p99_ms"), ("slowest, ms", "max_ms")) if field in told),
             "status               " + ", ".join(f"{status}: {n:,}" for status, n in told["status"].items()))


async def first_model(url: str, key: str | None) -> str:
    """The name of the first model of the server that makes vectors."""
    from qianru.serve import load

    target = load.Target.parse(url, "/v1/models", key)
    answer = await load.checked(target, target.request())
    for told in answer["data"]:
        if told.get("qianru", {}).get("role", "embedder") == "embedder":
            return str(told["id"])
    raise BadInput(f"{url} has no model that makes vectors. Give --path /collections/NAME/search.")
