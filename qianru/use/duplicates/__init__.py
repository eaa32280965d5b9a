"""Near-duplicates: found exactly among millions of texts, in bounded memory, and one of each group kept."""

from qianru.use.duplicates.finding import THRESHOLD, find_duplicates, similarities
from qianru.use.duplicates.grouping import Duplicates, Keep
from qianru.use.duplicates.job import DedupPlan, DedupReport, deduplicate

__all__ = ["THRESHOLD", "DedupPlan", "DedupReport", "Duplicates", "Keep", "deduplicate", "find_duplicates",
           "similarities"]
