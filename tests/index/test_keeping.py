"""The note of a collection's model: read as it was written, or named as damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from qianru.errors import CollectionDamaged
from qianru.index.keeping import keep, kept, loaded, told_parts


@pytest.mark.parametrize("told", [
    '{"parts": []}', '{"parts": ["m3"]}', '{"parts": [{"folder": "../../m3"}]}', '{"parts": [{"folder": "/m3"}]}',
    '{"parts": [{"folder": "model/../.."}]}', '{"parts": [{"name": 5, "fingerprint": "f"}]}',
    '{"parts": [{"name": "m3"}]}', '{"parts": 3}', "[]", "[", "[" * 100_000,
])
def test_a_note_that_nobody_wrote_is_damage(tmp_path: Path, told: str) -> None:
    (tmp_path / "model.json").write_text(told)
    with pytest.raises(CollectionDamaged, match=r"model\.json.*Restore it"):
        kept(tmp_path, None, "f" * 64)


def test_a_model_that_is_copied_has_no_note(tmp_path: Path) -> None:
    model, parts = loaded("bm25")
    keep(tmp_path, model, parts)
    assert told_parts(tmp_path) == []
    assert kept(tmp_path, None, model.spec.fingerprint).spec.fingerprint == model.spec.fingerprint
