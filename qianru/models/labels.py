"""What the outputs of a sequence classifier stand for, and the one score that they come to.

    1 label     the score is its logit: BGE's, BCE's and most rerankers
    2 labels    not relevant, relevant: the second label counts, if their names do not say another
    more        the label that is named entailment or relevant counts; without such a name it is no reranker
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from qianru.errors import SpecMismatch
from qianru.models.json_file import JsonFile
from qianru.types import FloatArray

RELEVANT = ("entailment", "relevant", "yes", "true")
UNNAMED = re.compile(r"LABEL_\d+")


@dataclass(frozen=True, slots=True)
class Labels:
    """names: of the outputs, in order;  relevant: which of them says that the document answers the query"""

    names: tuple[str, ...]
    relevant: int

    @classmethod
    def read(cls, config: JsonFile, n: int) -> Labels:
        """Those of config.json for a head with n outputs.

        Raises SpecMismatch if the file tells of another number, or if nothing says which label is to count.
        """
        named = config.mapping("id2label", {str(i): f"LABEL_{i}" for i in range(n)})
        if set(named) != {str(i) for i in range(n)}:
            raise SpecMismatch(f"{config.path} names {len(named)} labels, and the head has {n} outputs. The files do "
                               "not belong together.")
        names = tuple(str(named[str(i)]) for i in range(n))
        if n == 1:
            return cls(names, 0)
        meant = [i for i, name in enumerate(names) if name.lower() in RELEVANT]
        if len(meant) == 1:
            return cls(names, meant[0])
        if n == 2 and all(UNNAMED.fullmatch(name) for name in names):
            return cls(names, 1)
        raise SpecMismatch(f"{config.path} has the labels {', '.join(names)[:80]}; which of them says that a document "
                           f"answers a query cannot be told. One label, two without names, or one called "
                           f"{' or '.join(RELEVANT)} would do.")

    def scores(self, logits: FloatArray) -> FloatArray:
        """(n,) float32 whose sigmoid is the probability of the relevant label.

        logits: (n, n_labels). With one label these are the scores; with more, the log of the softmax's odds.

        >>> Labels(("LABEL_0", "LABEL_1"), 1).scores(np.array([[1.0, 3.5]])).tolist()
        [2.5]
        """
        others = np.delete(logits, self.relevant, axis=1)
        mine = logits[:, self.relevant]
        if others.shape[1] == 0:
            return np.asarray(mine, np.float32)
        peak = others.max(axis=1)
        return np.asarray(mine - peak - np.log(np.exp(others - peak[:, None]).sum(axis=1)), np.float32)
