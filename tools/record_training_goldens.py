"""Records what the reference libraries' losses make of the numbers of tests/train/loss_inputs.py.

Run in an environment of its own that has the library, which Qianru does not need:

    python tools/record_training_goldens.py sentence-transformers
    python tools/record_training_goldens.py FlagEmbedding

Writes tests/goldens/losses_sentence-transformers.json and losses_FlagEmbedding.json.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch

HERE = Path(__file__).parent.parent
sys.path.insert(0, str(HERE / "tests" / "train"))

import loss_inputs as given  # noqa: E402

Q, D = torch.tensor(given.QUERIES), torch.tensor(given.DOCUMENTS)
COLUMNS = [Q, *(D[i :: given.GROUP] for i in range(given.GROUP))]   # query, positive, negative, …
TEACHER = torch.tensor(given.TEACHER_SCORES)


class Plain(torch.nn.Module):
    """A model whose features are the embeddings themselves."""

    def get_embedding_dimension(self) -> int:
        return given.D

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"sentence_embedding": features["x"]}


def sentence_transformers() -> dict[str, float]:
    """Its losses by our names."""
    from sentence_transformers.sentence_transformer import losses
    from sentence_transformers.util import pairwise_cos_sim, pairwise_dot_score

    model = Plain()
    scale = 1 / given.TEMPERATURE
    every = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")
    none = torch.zeros(0)
    one = losses.MultipleNegativesRankingLoss(model, scale=scale)
    joint = losses.MultipleNegativesRankingLoss(model, scale=scale, directions=every)
    kl = losses.DistillKLDivLoss(model, similarity_fct=pairwise_dot_score, temperature=given.TEMPERATURE)
    dims = losses.MatryoshkaLoss(model, losses.MultipleNegativesRankingLoss(model, scale=scale), list(given.DIMS))
    made = {
        "info_nce": one.compute_loss_from_embeddings(COLUMNS, none),
        "four_directions": joint.compute_loss_from_embeddings(COLUMNS, none),
        "cosent": losses.CoSENTLoss(model).compute_loss_from_embeddings(COLUMNS[:2], torch.tensor(given.DEGREES)),
        "kl_divergence": kl.compute_loss_from_embeddings(COLUMNS, TEACHER),
        "margin_mse": losses.MarginMSELoss(model, similarity_fct=pairwise_cos_sim)
        .compute_loss_from_embeddings(COLUMNS, TEACHER),
        "nested": dims([{"x": column} for column in COLUMNS], none),
    }
    for distance in ("cosine", "mse", "l2"):
        made[f"embedding_{distance}"] = losses.EmbedDistillLoss(model, distance_metric=distance)(
            [{"x": Q}], torch.tensor(given.TEACHER_VECTORS)
        )
    return {name: float(value) for name, value in made.items()}


def flag_embedding() -> dict[str, float]:
    """BGE-M3's losses by our names, computed by its own class from given vectors."""
    from types import SimpleNamespace

    from FlagEmbedding.finetune.embedder.encoder_only.m3.modeling import EncoderOnlyEmbedderM3Model

    pad = torch.zeros   # its code drops the first token, as [CLS]
    queries = (Q, torch.tensor(given.TERMS_Q), torch.tensor(given.TOKENS_Q))
    documents = (D, torch.tensor(given.TERMS_D), torch.tensor(given.TOKENS_D))

    class M3(EncoderOnlyEmbedderM3Model):
        def encode(self, features):   # type: ignore[no-untyped-def]
            return features["vectors"]

    def made(
        distil: bool, teacher: torch.Tensor | None = None, unified: bool = True, kind: str = "m3_kd_loss"
    ) -> float:
        backbone = torch.nn.Module()
        backbone.config = SimpleNamespace(vocab_size=20)   # type: ignore[assignment]
        parts = {"model": backbone, "colbert_linear": None, "sparse_linear": None}
        model = M3(parts, tokenizer=SimpleNamespace(padding_side="right"), temperature=given.TEMPERATURE,
                   use_self_distill=distil, self_distill_start_step=-1, unified_finetuning=unified, kd_loss_type=kind)
        model.train()
        mask = pad(given.B, given.LENGTH + 1) + 1
        return float(model({"vectors": queries, "attention_mask": mask}, {"vectors": documents}, teacher).loss)

    return {
        "info_nce": made(False, unified=False),
        "three_heads": made(False),
        "three_heads_distilled": made(True),
        "ranked_distillation": made(False, TEACHER, unified=False),
        "soft_and_info_nce": made(False, TEACHER, unified=False, kind="kl_div"),
    }


def main() -> None:
    """Records one library."""
    name = sys.argv[1]
    values = {"sentence-transformers": sentence_transformers, "FlagEmbedding": flag_embedding}[name]()
    path = HERE / "tests" / "goldens" / f"losses_{name}.json"
    held = {"versions": {package: version(package) for package in (name, "torch")}, "values": values}
    path.write_text(json.dumps(held, indent=2) + "\n")
    print(path, held)


if __name__ == "__main__":
    main()
