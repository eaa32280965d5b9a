"""Labels for texts: learnt from examples, with probabilities that come true, or from the labels' names alone."""

from qianru.use.classify.classifier import Classifier, Predictions
from qianru.use.classify.fitting import Judgment, fit_classifier
from qianru.use.classify.zero_shot import TEMPLATES, zero_shot

__all__ = ["TEMPLATES", "Classifier", "Judgment", "Predictions", "fit_classifier", "zero_shot"]
