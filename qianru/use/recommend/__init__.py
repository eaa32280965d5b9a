"""Recommendation: items like this one by their texts, by what people did with them, or by both."""

from qianru.use.recommend.behaviour import Item2Vec, item_vectors
from qianru.use.recommend.by_text import (
    CHINESE,
    ENGLISH,
    Similar,
    find_item,
    script,
    similar_items,
    suited_analyzer,
    suited_model,
)
from qianru.use.recommend.learning import Judged, Learned, learn_recommender
from qianru.use.recommend.recommender import Mix, Recommended, Recommender, recommender
from qianru.use.recommend.sessions import Sessions, read_sessions

__all__ = [
    "CHINESE", "ENGLISH", "Item2Vec", "Judged", "Learned", "Mix", "Recommended", "Recommender", "Sessions", "Similar",
    "find_item", "item_vectors", "learn_recommender", "read_sessions", "recommender", "script", "similar_items",
    "suited_analyzer", "suited_model",
]
