"""Texts in clusters: k-means or HDBSCAN over vectors, each cluster told by its words and its most central texts."""

from qianru.use.cluster.clustering import Clustering, cluster
from qianru.use.cluster.words import distinguishing_words
from qianru.use.material import Material, from_collection, from_texts

__all__ = ["Clustering", "Material", "cluster", "distinguishing_words", "from_collection", "from_texts"]
