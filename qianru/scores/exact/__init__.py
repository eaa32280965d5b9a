"""Exact search: every document is looked at, block by block, in bounded memory; equal scores go by the lower id."""

from qianru.scores.exact.dense import dense_top_k
from qianru.scores.exact.maxsim import maxsim_candidates, maxsim_top_k
from qianru.scores.exact.products import PRECISIONS, Precision
from qianru.scores.exact.sparse import Postings, sparse_top_k

__all__ = [
    "PRECISIONS",
    "Postings",
    "Precision",
    "dense_top_k",
    "maxsim_candidates",
    "maxsim_top_k",
    "sparse_top_k",
]
