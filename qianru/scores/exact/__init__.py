"""Exact search: every document is looked at, block by block, in bounded memory; equal scores go by the lower id."""

from qianru.scores.exact.blocks import lengths_of
from qianru.scores.exact.dense import DenseSearch, dense_top_k
from qianru.scores.exact.maxsim import maxsim_candidates, maxsim_top_k
from qianru.scores.exact.products import PRECISIONS, Precision
from qianru.scores.exact.signs import Signs
from qianru.scores.exact.sparse import Postings, sparse_top_k

__all__ = [
    "PRECISIONS",
    "DenseSearch",
    "Postings",
    "Precision",
    "Signs",
    "dense_top_k",
    "lengths_of",
    "maxsim_candidates",
    "maxsim_top_k",
    "sparse_top_k",
]
