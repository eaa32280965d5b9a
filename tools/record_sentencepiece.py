"""Records a small sentencepiece model of byte pairs, made as Mistral's is, and the ids that sentencepiece gives by it.

Run in an environment of its own, which Qianru does not need:

    pip install sentencepiece
    python tools/record_sentencepiece.py

Writes tests/goldens/sentencepiece_bpe.model, trained on 西游记 and on this project's docs, and sentencepiece_bpe.json.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import sentencepiece

HERE = Path(__file__).parent.parent
sys.path.insert(0, str(HERE / "tests" / "models"))

from checkpoints import TEXTS  # noqa: E402

DATA = Path(os.environ.get("QIANRU_DATA", HERE.parent / "shared" / "data"))
STRANGE = [" ", "  two  spaces  ", "\n\ttab", "12345", "a" * 50, "▁", "Instruct: Find the poem\nQuery: 明月",
           "💥é\u200b\x00"]


def main() -> None:
    """Trains, encodes, writes."""
    novel = [line.strip() for line in (DATA / "articles/西游记.txt").read_text("utf-8").splitlines() if line.strip()]
    docs = [line for path in sorted((HERE / "docs").glob("*.md")) for line in path.read_text("utf-8").splitlines()]
    goldens = HERE / "tests" / "goldens"
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.txt"
        corpus.write_text("\n".join([*novel[:300], *docs]), "utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus), model_prefix=f"{folder}/small", model_type="bpe", vocab_size=2500, byte_fallback=True,
            normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
            character_coverage=0.98, allow_whitespace_only_pieces=True, unk_id=0, bos_id=1, eos_id=2, pad_id=-1,
            num_threads=1, minloglevel=2,
        )
        content = (Path(folder) / "small.model").read_bytes()
    (goldens / "sentencepiece_bpe.model").write_bytes(content)
    processor = sentencepiece.SentencePieceProcessor(model_proto=content)
    texts = [*TEXTS, *STRANGE, *novel[1000:1020]]
    ids = [[int(i) for i in processor.encode(text)] for text in texts]
    told = {"sentencepiece": sentencepiece.__version__, "texts": texts, "ids": ids}
    (goldens / "sentencepiece_bpe.json").write_text(json.dumps(told) + "\n", "utf-8")


if __name__ == "__main__":
    main()
