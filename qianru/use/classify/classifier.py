"""A classifier: an embedding model, a head on its vectors, and probabilities that come true."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from qianru.errors import BadInput, ModelMismatch
from qianru.index.keeping import LARGE
from qianru.models import from_stored, load
from qianru.models.base import Model, as_texts
from qianru.models.files import Stored, read_folder, write_folder
from qianru.models.joined import Storable
from qianru.types import FloatArray, Progress
from qianru.use.classify.calibration import Calibration
from qianru.use.classify.features import features
from qianru.use.classify.head import Head

AT_ONCE = 4096      # texts that are embedded before their labels are told


class Predictions(NamedTuple):
    """labels: (n,) the likeliest label of each text, None where the classifier abstains
    confidence: (n,) the probability of that label;  probabilities: (n, k) of every label, in the classifier's order
    """

    labels: list[str | None]
    confidence: FloatArray
    probabilities: FloatArray


class Classifier:
    """Tells the labels of texts.

    labels: in the order of probabilities
    calibration: makes of logits probabilities that come true
    min_confidence: below it the classifier abstains
    name: what qianru.load loads the model by; a transformer that has a name is not copied into the folder
    """

    family: ClassVar[str] = "classifier"

    def __init__(
        self, model: Model, labels: Sequence[str], head: Head, calibration: Calibration = Calibration(), *,
        min_confidence: float = 0.0, name: str | None = None,
    ) -> None:
        self.model, self.labels, self.head, self.calibration = model, tuple(labels), head, calibration
        self.min_confidence, self.name = min_confidence, name

    def predict(self, texts: Sequence[str], *, progress: Progress | None = None) -> Predictions:
        """The labels of the texts and how sure they are; a text's label does not depend on its neighbours.

        progress: counts texts
        """
        listed = as_texts(texts)
        parts: list[FloatArray] = [np.zeros((0, len(self.labels)))]
        for start in range(0, len(listed), AT_ONCE):
            vectors = features(self.model, listed[start : start + AT_ONCE])
            if vectors.shape[1] != self.head.weights.shape[1]:
                raise ModelMismatch(f"The model makes {vectors.shape[1]} numbers of a text; the classifier learnt from "
                                    f"{self.head.weights.shape[1]}. Load it with the model that it learnt from.")
            parts.append(self.calibration.probabilities(self.head.logits(vectors)))
            if progress is not None:
                progress(min(start + AT_ONCE, len(listed)), len(listed))
        return told(np.concatenate(parts), self.labels, self.min_confidence)

    def save(self, folder: Path | str) -> None:
        """Writes the classifier to a folder, whole or not at all; the model goes with it unless it is named.

        Raises BadInput for a model that can neither be saved nor named.
        """
        write_folder(Path(folder), self.stored())

    def stored(self) -> Stored:
        """What the folder holds."""
        settings: dict[str, Any] = {
            **self.calibration._asdict(), "min_confidence": self.min_confidence,
            "fingerprint": self.model.spec.fingerprint, "model": None,
        }
        parts: dict[str, Stored] = {}
        if self.name is not None and self.model.spec.family in LARGE:
            settings["model"] = str(Path(self.name).absolute()) if Path(self.name).exists() else self.name
        elif isinstance(self.model, Storable):
            parts["model"] = self.model.stored()
        else:
            raise BadInput(f"{self.model.spec.name} cannot be saved into a classifier. Fit with the name of the model, "
                           "so that it is named there.")
        return Stored(self.family, settings, {"weights": self.head.weights, "bias": self.head.bias},
                      {"labels": list(self.labels)}, parts=parts)

    @classmethod
    def load(cls, folder: Path | str, model: Model | None = None) -> Self:
        """The classifier of a folder.

        model: stands in for one that is named, so that it need not be where it was
        Raises ModelMismatch for a model with another fingerprint than the classifier learnt from.
        """
        stored = read_folder(Path(folder), cls.family)
        name, made_with = stored.optional("model", str), stored.setting("fingerprint", str)
        if model is None:
            model = from_stored(stored.parts["model"]) if name is None else load(name)
        if model.spec.fingerprint != made_with:
            raise ModelMismatch(f"The classifier in {folder} learnt from the model with the fingerprint "
                                f"{made_with[:12]}; {model.spec.name} has {model.spec.fingerprint[:12]}. Give the "
                                "model that it learnt from, or fit it again.")
        labels = stored.word_list("labels")
        head = Head(stored.array("weights", (len(labels), None)), stored.array("bias", (len(labels),)))
        calibration = Calibration(*(stored.setting(name, float) for name in Calibration._fields))
        return cls(model, labels, head, calibration,
                   min_confidence=stored.setting("min_confidence", float), name=name)


def told(probabilities: FloatArray, labels: Sequence[str], min_confidence: float = 0.0) -> Predictions:
    """The likeliest labels of (n, k) probabilities; None where the likeliest is less sure than that."""
    best = probabilities.argmax(axis=1)
    confidence: FloatArray = probabilities[np.arange(len(best)), best]
    chosen = [labels[i] if sure else None
              for i, sure in zip(best.tolist(), (confidence >= min_confidence).tolist(), strict=True)]
    return Predictions(chosen, confidence, probabilities)
