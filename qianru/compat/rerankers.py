"""FlagEmbedding's FlagReranker and sentence-transformers' CrossEncoder, over one and the same reranker.

They differ in two things. FlagReranker gives logits and cuts only the passage, after a query of three quarters;
CrossEncoder gives probabilities where there is one label, unless its folder says otherwise, and cuts the longer text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from qianru.compat.flag_embedding import Devices, fill, template
from qianru.compat.loading import bar, device_of, folder_or_name, open_reranker
from qianru.compat.util import as_tensor
from qianru.errors import BadInput, SpecMismatch, require
from qianru.models import cross_encoder
from qianru.models.json_file import JsonFile
from qianru.models.pairs import Cut
from qianru.runtime.options import Runtime
from qianru.types import FloatArray

Pairs = Sequence[tuple[str, str]] | Sequence[Sequence[str]] | tuple[str, str] | Sequence[str]
ACTIVATIONS = {"Sigmoid": True, "Identity": False}      # name of torch.nn -> whether scores are probabilities


class FlagReranker:
    """bge-reranker-base, -large, -v2-m3 and other classifiers with one label.

    use_fp16: bfloat16 or float32, whichever is faster here; without it, float32
    batch_size, trust_remote_code: accepted and without effect
    query_max_length: tokens of a query; three quarters of max_length if none;  max_length: of query and passage
    normalize: probabilities in place of logits
    """

    def __init__(
        self,
        model_name_or_path: str | Path,
        use_fp16: bool = False,
        query_instruction_for_rerank: str | None = None,
        query_instruction_format: str = "{}{}",
        passage_instruction_for_rerank: str | None = None,
        passage_instruction_format: str = "{}{}",
        trust_remote_code: bool = False,
        devices: Devices = None,
        batch_size: int = 128,
        query_max_length: int | None = None,
        max_length: int = 512,
        normalize: bool = False,
        use_bf16: bool = False,
    ) -> None:
        precision: Literal["auto", "bfloat16", "float32"] = (
            "bfloat16" if use_bf16 else "auto" if use_fp16 else "float32")
        self.model = open_reranker(model_name_or_path, Runtime(precision, device_of(devices) or "auto"))
        if len(self.model.labels.names) != 1:
            raise SpecMismatch(f"{model_name_or_path} has {len(self.model.labels.names)} labels; FlagReranker takes "
                               "one. Use CrossEncoder.")
        self._query = template(query_instruction_for_rerank, query_instruction_format)
        self._passage = template(passage_instruction_for_rerank, passage_instruction_format)
        self.query_max_length, self.max_length, self.normalize = query_max_length, max_length, normalize

    def compute_score(
        self,
        sentence_pairs: Pairs,
        batch_size: int | None = None,
        query_max_length: int | None = None,
        max_length: int | None = None,
        normalize: bool | None = None,
    ) -> list[float]:
        """The score of each pair of query and passage; a list also of one pair alone."""
        pairs, _ = _pairs(sentence_pairs)
        n = min(max_length or self.max_length, self.model.network.backbone.config.max_tokens)
        cut = Cut("document", query_max_length or self.query_max_length or n * 3 // 4)
        filled = [(fill(self._query, query), fill(self._passage, passage)) for query, passage in pairs]
        scores = self.model.altered(cut=cut, max_tokens=n).score(filled)
        wanted = self.normalize if normalize is None else normalize
        return (_sigmoid(scores) if wanted else scores).tolist()     # type: ignore[no-any-return]


class CrossEncoder:
    """Any reranker's folder, or a downloaded model by its name.

    max_length: tokens of a pair;  activation_fn: logits -> scores, of torch; None for what the folder says, else a
        sigmoid where there is one label and nothing where there are more
    trust_remote_code, local_files_only: without effect: code is never run, nothing is downloaded
    """

    def __init__(
        self,
        model_name_or_path: str | Path,
        num_labels: int | None = None,
        max_length: int | None = None,
        activation_fn: Callable[[Any], Any] | None = None,
        device: str | None = None,
        trust_remote_code: bool = False,
        local_files_only: bool = False,
    ) -> None:
        self.model = open_reranker(model_name_or_path, Runtime("float32", device_of(device) or "auto"))
        if num_labels is not None and num_labels != self.num_labels:
            raise SpecMismatch(f"{model_name_or_path} has {self.num_labels} labels, not {num_labels}. A head of random "
                               "numbers is never put in place of the folder's own.")
        if max_length is not None:
            self.max_length = max_length
        self.activation_fn = activation_fn or self._usual_activation(folder_or_name(model_name_or_path))

    @property
    def num_labels(self) -> int:
        """How many numbers the model gives for a pair."""
        return len(self.model.labels.names)

    @property
    def max_length(self) -> int:
        """Tokens of a pair, the special ones among them; can be set, up to what there are positions for."""
        return self.model.tokenizer.max_tokens

    @max_length.setter
    def max_length(self, n: int) -> None:
        self.model = self.model.altered(max_tokens=min(n, self.model.network.backbone.config.max_tokens))

    def predict(
        self,
        sentences: Pairs,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Callable[[Any], Any] | None = None,
        apply_softmax: bool = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
    ) -> Any:
        """(n,) scores of the pairs, (n, num_labels) where there are more labels than one; one row of a pair alone."""
        pairs, alone = _pairs(sentences)
        with bar(bool(show_progress_bar), "Scoring") as progress:
            logits = as_tensor(self.model.judge(pairs, progress=progress).logits)
        scores = (activation_fn or self.activation_fn)(logits)
        if scores.ndim > 1 and scores.shape[1] == 1:
            scores = scores.squeeze(-1)
        if apply_softmax and scores.ndim > 1:
            scores = scores.softmax(-1)
        scores = scores[0] if alone else scores
        if convert_to_tensor:
            return scores
        return scores.numpy() if convert_to_numpy else list(scores)

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        return_documents: bool = False,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Callable[[Any], Any] | None = None,
    ) -> list[dict[str, Any]]:
        """The documents best first: {"corpus_id": number, "score": score}, and "text" if asked for."""
        if self.num_labels != 1:
            raise BadInput(f"rank takes a model with one label; this one has {self.num_labels}. Use predict.")
        pairs = [(query, document) for document in documents]
        scores = self.predict(pairs, show_progress_bar=show_progress_bar, activation_fn=activation_fn)
        order = np.argsort(-scores, kind="stable")[:top_k]
        return [{"corpus_id": int(i), "score": float(scores[i]), **({"text": documents[i]} if return_documents else {})}
                for i in order]

    def _usual_activation(self, folder: Path) -> Callable[[Any], Any]:
        nn = require("torch", "torch", "sentence-transformers' CrossEncoder").nn
        config = JsonFile.read_if_there(folder / "config.json")
        own = JsonFile(config.path, config.mapping("sentence_transformers", {}))
        newer = JsonFile.read_if_there(folder / "config_sentence_transformers.json")
        for file, key in ((newer, "activation_fn"), (own, "activation_fn"),
                          (config, "sbert_ce_default_activation_function")):
            if file.has(key):
                package, _, name = file.text(key).rpartition(".")
                if name not in ACTIVATIONS or not package.startswith("torch.nn"):
                    raise SpecMismatch(f"{file.path} asks for the activation {file.text(key)!r:.80}; supported are "
                                       f"{', '.join(ACTIVATIONS)} of torch.nn. Give activation_fn.")
                return getattr(nn, name)()     # type: ignore[no-any-return]
        return (nn.Sigmoid if self.num_labels == 1 else nn.Identity)()     # type: ignore[no-any-return]


def _pairs(given: Pairs) -> tuple[list[tuple[str, str]], bool]:
    """(pairs, whether it was one alone)."""
    alone = len(given) == 2 and all(isinstance(text, str) for text in given)
    listed: Any = [given] if alone else given
    return list(cross_encoder.checked(listed)), alone


def _sigmoid(scores: FloatArray) -> FloatArray:
    wide = scores.astype(np.float64)
    return np.exp(-np.logaddexp(0.0, -wide))
