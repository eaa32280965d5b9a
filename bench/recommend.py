"""What texts, sessions and both find of the next item, on shops whose truth is known: one line of JSON each.

    python bench/recommend.py
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from common import report

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "use"))

from shops import shop

from qianru.models.lexical import TfIdf
from qianru.text.analyze import Analyzer
from qianru.use.recommend import Sessions, learn_recommender

if __name__ == "__main__":
    for n_sessions in (300, 1_000, 3_000, 10_000):
        made = shop(n_sessions=n_sessions)
        model = TfIdf(Analyzer(pattern=r"\S+")).fit(made.texts)
        begun = time.process_time()
        learned = learn_recommender(made.names, made.texts, Sessions.of(made.sessions, timed=True), model)
        report(
            "recommend", ["gensim", "numpy"],
            n_items=len(made.names), n_new=len(made.new), n_sessions=n_sessions, n_held=learned.n_held,
            cpu_s=round(time.process_time() - begun, 1), mix=learned.recommender.mix._asdict(),
            ways={way: {name: [round(part, 4) for part in one] for name, one in judged._asdict().items()}
                  for way, judged in learned.ways.items()},
            gains={way: [round(part, 4) for part in gain] for way, gain in learned.gains.items()},
        )
