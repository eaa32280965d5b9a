"""What mining came to: how many negatives, where the other candidates went, and what to change if there are too few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field


@dataclass(slots=True)
class Mined:
    """What mining came to.

    n_candidates: texts in the window of ranks, of all queries together; n_known, n_repeated, n_likely_right and
        n_cross_checked of them were dropped
    n_short: queries with fewer negatives than asked for;  n_none: with none at all
    n_deeper: short ones whose last candidate too was likely right, so that there are negatives behind the window
    doubtful: up to eight dropped as likely right, to look at: query, positive, text, scores
    """

    n_queries: int = 0
    n_candidates: int = 0
    n_known: int = 0
    n_repeated: int = 0
    n_likely_right: int = 0
    n_cross_checked: int = 0
    n_kept: int = 0
    n_short: int = 0
    n_none: int = 0
    n_deeper: int = 0
    doubtful: list[dict[str, str | float]] = field(default_factory=list)

    def advice(self, first: int, last: int, margin: float | None, n_corpus: int) -> list[str]:
        """Why queries have fewer negatives than asked for, most common first, each with what to change.

        first, last: the window of ranks;  n_corpus: different texts in the corpus
        """
        causes: list[tuple[int, str]] = []
        if self.n_deeper:
            deeper = min(10 * last, n_corpus)
            shown = f"{1 - (margin or 0):.0%}"
            change = (f"take ranks {last}-{deeper}" if deeper > last else "use a larger corpus") + (
                ", a smaller margin" if margin else "")
            causes.append((self.n_deeper, (
                f"{self.n_deeper:,} queries: all down to rank {last:,} scores above {shown} of the positive, so the "
                f"model does not tell them apart yet. To have more, {change}, or a model that ranks these positives "
                "higher.")))
        rest = self.n_short - self.n_deeper
        dropped = {"known": self.n_known, "copies": self.n_repeated, "cross": self.n_cross_checked}
        if rest and n_corpus < last:
            causes.append((rest, (
                f"{rest:,} queries: the corpus of {n_corpus:,} texts ends within the ranks {first}-{last}. Use a "
                "larger corpus, or a lower first rank.")))
        elif rest and any(dropped.values()):
            causes.append((rest, f"{rest:,} queries: {WHY[max(dropped, key=lambda name: dropped[name])]}"))
        elif rest:
            causes.append((rest, (
                f"{rest:,} queries: too few candidates below the margin in ranks {first}-{last}. Take a wider window "
                "of ranks.")))
        return [text for _, text in sorted(causes, reverse=True)]


WHY = {
    "known": "most candidates are known to be right. Use a corpus with other texts beside the positives.",
    "copies": "most candidates are copies of one another. Take a wider window of ranks, or a corpus without copies.",
    "cross": "the cross-check drops most candidates. Take a wider window of ranks, or leave it out.",
}


def as_json(report: Mined, advice: Sequence[str] = ()) -> dict[str, object]:
    """The report as JSON can say it."""
    return {**asdict(report), "advice": list(advice)}
