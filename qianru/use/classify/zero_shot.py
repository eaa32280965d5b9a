"""Labels for texts without a single example: from the names of the labels, by a model that knows what they mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qianru.errors import BadInput
from qianru.models.base import Model, as_texts
from qianru.scores import metric
from qianru.types import Progress
from qianru.use.classify.calibration import Calibration
from qianru.use.classify.classifier import Predictions, told
from qianru.use.cluster.space import as_matrix
from qianru.use.material import vectors_of
from qianru.use.recommend import script

TEMPLATES = {
    "zh": ("{}", "这是一条关于{}的内容。", "主题：{}", "这段文字的类别是{}。"),
    "en": ("{}", "This text is about {}.", "Topic: {}", "The category of this text is {}."),
}
"""What a label's name is put into; the mean of all is compared with the texts."""
SAME = 1e-6                 # cosines that differ by less are equal
TEMPERATURE = 0.05          # of cosines; without examples nobody can say how sure a label is


def zero_shot(
    texts: Sequence[str],
    labels: Sequence[str],
    model: Model,
    *,
    templates: Sequence[str] | None = None,
    min_confidence: float = 0.0,
    progress: Progress | None = None,
) -> Predictions:
    """The label whose name is most like each text.

    labels: their names, best as words that such texts would use
    templates: with one {} each; by default Chinese or English ones, by the script of the labels
    A text that is like all labels alike, such as an empty one, gets None. Confidences order the texts but are not
    calibrated; examples of each label (fit_classifier) make them so.
    Raises BadInput for fewer than two labels, a label twice or one of which the model knows no word, or a template
    without a place for the label.
    """
    texts, labels = as_texts(texts), as_texts(labels)
    if len(set(labels)) < 2 or len(set(labels)) < len(labels) or not all(label.strip() for label in labels):
        raise BadInput("Zero-shot needs at least two labels, none of them empty or twice.")
    chosen = tuple(templates) if templates is not None else TEMPLATES[script(labels)]
    for template in chosen:
        if template.count("{}") != 1:
            raise BadInput(f"A template needs one place {{}} for the label; '{template}' has {template.count('{}')}.")
    if not chosen:
        raise BadInput("Zero-shot needs at least one template; '{}' is the name of the label alone.")
    unknown = np.flatnonzero(abs(as_matrix(vectors_of(model, labels))).sum(axis=1) == 0)
    if len(unknown):
        raise BadInput(f"{model.spec.name} knows no word of the label '{labels[unknown[0]]}' and cannot go by it. "
                       "Take a model that knows what words mean, such as qianru-zh-mini.")
    named = [vectors_of(model, [template.replace("{}", label) for label in labels]) for template in chosen]
    cosine = metric("cosine")
    documents = vectors_of(model, texts, progress=progress)
    as_matrix(documents)                       # refuses numbers that are not finite
    scores = sum((cosine(documents, vectors) for vectors in named), np.zeros((len(texts), len(labels)))) / len(chosen)
    found = told(Calibration(TEMPERATURE).probabilities(scores), labels, min_confidence)
    tells = np.ptp(scores, axis=1) > SAME
    return found._replace(labels=[label if some else None for label, some in zip(found.labels, tells, strict=True)])
