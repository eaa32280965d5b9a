"""What all tests share: one thread for each, and the one way to the real data."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir

import pytest

HERE = Path(__file__).parent

# Before anything loads these libraries, here and in the processes that tests start: each worker of the run has a core,
# and threads that wait for one another beside it burn what other tests could use.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")


def data_folder() -> Path | None:
    """The folder of real data: QIANRU_DATA, else ../shared/data beside the project, else None."""
    named = os.environ.get("QIANRU_DATA")
    folder = Path(named) if named else HERE.parent.parent / "shared" / "data"
    return folder if (folder / "MANIFEST.md").is_file() else None


@pytest.fixture
def let_others_in(tmp_path: Path) -> Callable[[], None]:
    """Lets other users read what lies in the test's folder."""

    def let_in() -> None:
        for folder in (tmp_path, *tmp_path.parents):
            if folder.is_relative_to(gettempdir()) and folder != Path(gettempdir()):
                folder.chmod(0o755)

    return let_in


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data; without it a test is skipped, but never in continuous integration."""
    folder = data_folder()
    if folder is None:
        reason = "the real data is not here: set QIANRU_DATA to the folder that holds its MANIFEST.md"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
