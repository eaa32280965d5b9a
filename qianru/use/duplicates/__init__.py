"""Near-duplicates: found exactly among millions of texts, in bounded memory, and one of each group kept."""

from qianru.use.duplicates.finding import THRESHOLD, find_duplicates, similarities
from qianru.use.duplicates.grouping import Duplicates, Keep

__all__ = ["THRESHOLD", "Duplicates", "Keep", "find_duplicates", "similarities"]
