"""What the tests of evaluation share."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))      # golden_tasks, which the recorder imports as well
