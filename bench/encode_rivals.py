"""Other engines on the same checkpoint and the same token ids: what bench/encode.py runs beside Qianru.

ONNX Runtime, OpenVINO and CTranslate2 bring no loop over texts of their own, so they get ours, as good as padding can
be: texts sorted by length, longest first, each batch padded to its longest text and no further. Pooling is part of the
exported graph; CTranslate2, which exports none, pools in NumPy. sentence-transformers and FlagEmbedding run as they
come.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qianru.models.folder import ModelFolder
from qianru.models.tokenizer import TextTokenizer
from qianru.types import FloatArray, IntArray

Encode = Callable[[list[str]], FloatArray]
Forward = Callable[[IntArray, IntArray], FloatArray]
MOST_PADDING = 0.1   # of a batch; smaller batches than a quarter of the limit may have more


class LeftOut(Exception):
    """Why an engine does not take part."""


@dataclass(eq=False)
class Job:
    """One checkpoint, as all engines are to run it.

    tokenizer: Qianru's, so that all engines read the same ids
    calibration: texts that are not measured;  place: where converted models are kept
    """

    folder: Path
    place: Path
    tokenizer: TextTokenizer
    calibration: list[str]
    threads: int
    batch_tokens: int | None = None
    loaded: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def pooling(self) -> str:
        """mean or cls."""
        return ModelFolder.read(self.folder, None).recipe.pooling[0]

    @cached_property
    def pad(self) -> int:
        """The id that fills rows."""
        return int(json.loads((self.folder / "config.json").read_text()).get("pad_token_id", 0))

    def made(self, name: str, make: Callable[[Path], object]) -> Path:
        """The path of a converted model, made if it is not there; a half-made one never has that name."""
        path = self.place / name
        if not path.exists():
            unfinished = self.place / f"unfinished-{name}"
            if unfinished.is_dir():
                shutil.rmtree(unfinished)
            self.place.mkdir(parents=True, exist_ok=True)
            make(unfinished)
            unfinished.rename(path)
        return path

    def once(self, name: str, load: Callable[[], Any]) -> Any:
        """A loaded model that two contestants share."""
        if name not in self.loaded:
            self.loaded[name] = load()
        return self.loaded[name]


class Rival(NamedTuple):
    """package: what must be installed;  make: -> (texts -> vectors, how it is set up)."""

    name: str
    precision: str
    package: str
    make: Callable[[Job], tuple[Encode, str]]

    def start(self, job: Job) -> tuple[Encode, str]:
        """LeftOut if it cannot take part."""
        if find_spec(self.package) is None:
            raise LeftOut(f"{self.package} is not installed")
        return self.make(job)


def padded(rows: Sequence[IntArray], pad: int) -> tuple[IntArray, IntArray]:
    """(ids, mask), both (n, length of the longest) int64.

    >>> [part.tolist() for part in padded([np.array([5, 6]), np.array([7])], 0)]
    [[[5, 6], [7, 0]], [[1, 1], [1, 0]]]
    """
    lengths = np.array([len(row) for row in rows])
    mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
    ids = np.full(mask.shape, pad, np.int64)
    ids[mask.astype(bool)] = np.concatenate(rows)
    return ids, mask


def sorted_batches(lengths: IntArray, batch_tokens: int) -> list[IntArray]:
    """Which rows go together: longest first; a batch ends at batch_tokens with padding, or where padding grows.

    >>> [batch.tolist() for batch in sorted_batches(np.array([3, 9, 2, 3]), 9)]
    [[1], [0, 3], [2]]
    """
    order = np.argsort(-lengths, kind="stable")
    batches: list[IntArray] = []
    start = real = 0
    for place, row in enumerate(order):
        longest, n = lengths[order[start]], place - start + 1
        area = longest * n
        wasteful = area - real - lengths[row] > MOST_PADDING * area and longest * (n - 1) > batch_tokens / 4
        if place > start and (area > batch_tokens or wasteful):
            batches.append(order[start:place])
            start, real = place, 0
        real += int(lengths[row])
    return [*batches, order[start:]]


def in_batches(job: Job, forward: Forward, batch_tokens: int, note: str) -> tuple[Encode, str]:
    """forward: ids and mask of a batch -> its vectors."""
    limit = job.batch_tokens or batch_tokens

    def encode(texts: list[str]) -> FloatArray:
        rows = job.tokenizer.rows(texts).rows
        vectors: FloatArray | None = None
        for batch in sorted_batches(np.array([len(row) for row in rows], np.int64), limit):
            made = forward(*padded([rows[i] for i in batch], job.pad))
            if vectors is None:
                vectors = np.empty((len(texts), made.shape[1]), np.float32)
            vectors[batch] = made
        assert vectors is not None
        return vectors

    return encode, f"{note}; sorted, up to {limit} tokens a batch with padding"


# ---- engines with a loop of their own ------------------------------------------------------------------------------

def sentence_transformers(job: Job, batch: int = 32, dtype: str = "float32") -> tuple[Encode, str]:
    """As it comes: it sorts by characters and pads each batch."""
    import torch
    from sentence_transformers import SentenceTransformer

    kwargs = {"dtype": getattr(torch, dtype)}
    model = job.once(f"st {dtype}", lambda: SentenceTransformer(str(job.folder), device="cpu", model_kwargs=kwargs))

    def encode(texts: list[str]) -> FloatArray:
        made: FloatArray = model.encode(texts, batch_size=batch, convert_to_numpy=True, show_progress_bar=False)
        return made

    return encode, f"batch_size={batch}"


def flag_embedding(job: Job, batch: int = 32) -> tuple[Encode, str]:
    """BGEM3FlagModel for BGE-M3's shape, dense only; FlagModel for the others."""
    from FlagEmbedding import BGEM3FlagModel, FlagModel

    size = job.tokenizer.max_tokens
    options = {"use_fp16": False, "devices": "cpu", "batch_size": batch}
    if (job.folder / "colbert_linear.pt").exists():
        m3 = BGEM3FlagModel(str(job.folder), query_max_length=size, passage_max_length=size, **options)
        return lambda texts: np.asarray(m3.encode(texts, max_length=size)["dense_vecs"]), f"BGEM3FlagModel, {batch}"
    model = FlagModel(str(job.folder), pooling_method=job.pooling, query_max_length=size, passage_max_length=size,
                      **options)
    return lambda texts: np.asarray(model.encode(texts)), f"FlagModel, batch_size={batch}"


# ---- ONNX Runtime --------------------------------------------------------------------------------------------------

def export_onnx(job: Job, target: Path) -> None:
    """The Hugging Face model with its pooling, by torch's own exporter; any number of texts of any length."""
    import torch
    from transformers import AutoModel

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(job.folder, attn_implementation="eager", dtype=torch.float32)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            states = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            if job.pooling == "cls":
                return states[:, 0]
            weights = attention_mask.unsqueeze(-1).to(states.dtype)
            return (states * weights).sum(1) / weights.sum(1)

    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    ids = torch.randint(5, 1000, (3, 17))
    sizes = {0: batch, 1: length}
    torch.onnx.export(   # not dynamo=False: its graph is wrong for other sizes than the example's
        Pooled().eval(), (ids, torch.ones_like(ids)), str(target), dynamo=True, dynamic_shapes=(sizes, sizes),
        input_names=["input_ids", "attention_mask"], output_names=["vectors"], external_data=False, verbose=False,
    )


def onnx_path(job: Job) -> Path:
    """The exported graph in float32."""
    return job.made("model.onnx", partial(export_onnx, job))


def onnx_runtime(job: Job, precision: str) -> tuple[Encode, str]:
    """Graph optimisations all on; int8: dynamic, weights for each output, u8 x s8."""
    import onnxruntime

    path = onnx_path(job)
    if precision == "int8":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        def quantise(target: Path) -> None:
            quantize_dynamic(path, target, per_channel=True, weight_type=QuantType.QInt8,
                             op_types_to_quantize=["MatMul"])

        path = job.made("model-int8.onnx", quantise)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = job.threads, 1, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def forward(ids: IntArray, mask: IntArray) -> FloatArray:
        made: FloatArray = session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return made

    note = "quantize_dynamic, per channel" if precision == "int8" else "all graph optimisations"
    return in_batches(job, forward, 512, note)   # 1,024 takes a tenth longer


# ---- OpenVINO ------------------------------------------------------------------------------------------------------

def quantise_openvino(job: Job, target: Path) -> None:
    """NNCF's post-training quantisation for transformers, with texts that are not measured."""
    if find_spec("nncf") is None:
        raise LeftOut("nncf is not installed")
    import nncf
    import openvino

    inputs = [dict(zip(("input_ids", "attention_mask"), padded([row], job.pad), strict=True))
              for row in job.tokenizer.rows(job.calibration).rows]
    model = nncf.quantize(openvino.Core().read_model(str(onnx_path(job))), nncf.Dataset(inputs),
                          model_type=nncf.ModelType.TRANSFORMER, subset_size=len(inputs))
    target.mkdir()
    openvino.save_model(model, str(target / "model.xml"), compress_to_fp16=False)


def open_vino(job: Job, precision: str, quantised: str = "nncf") -> tuple[Encode, str]:
    """One stream; what int8 leaves over runs in bfloat16, which is OpenVINO's default where the processor has it."""
    import openvino

    core = openvino.Core()
    if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise LeftOut("OpenVINO has no bfloat16 on this processor")
    path = onnx_path(job)
    if precision == "int8":
        path = job.made("openvino-int8", partial(quantise_openvino, job)) / "model.xml"
    hint = "f32" if precision == "float32" else "bf16"
    compiled = core.compile_model(str(path), "CPU", {
        "INFERENCE_NUM_THREADS": job.threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": hint, "ENABLE_CPU_PINNING": False,
    })
    request = compiled.create_infer_request()

    def forward(ids: IntArray, mask: IntArray) -> FloatArray:
        made = request.infer({"input_ids": ids, "attention_mask": mask}, share_inputs=True, share_outputs=True)
        vectors: FloatArray = next(iter(made.values()))
        return vectors

    return in_batches(job, forward, 1024, f"hint {hint}" + (", NNCF" if precision == "int8" else ""))


# ---- CTranslate2 ---------------------------------------------------------------------------------------------------

def ctranslate2_path(job: Job) -> Path:
    """The folder converted in float32; other precisions are made on loading."""
    from ctranslate2.converters import TransformersConverter

    return job.made("ctranslate2", lambda target: TransformersConverter(str(job.folder)).convert(str(target)))


def ctranslate(job: Job, precision: str) -> tuple[Encode, str]:
    """Its own encoder, which takes padding out again by itself."""
    import ctranslate2

    offered = ctranslate2.get_supported_compute_types("cpu")
    if precision not in offered:
        raise LeftOut(f"CTranslate2 offers {', '.join(sorted(offered))} on this processor, not {precision}")
    encoder = ctranslate2.Encoder(str(ctranslate2_path(job)), device="cpu", compute_type=precision, inter_threads=1,
                                  intra_threads=job.threads)

    def forward(ids: IntArray, mask: IntArray) -> FloatArray:
        lengths = mask.sum(1)
        made = encoder.forward_batch([row[:n].tolist() for row, n in zip(ids, lengths, strict=True)])
        states: FloatArray = np.asarray(made.last_hidden_state)                # (n, length, d)
        if job.pooling == "cls":
            return states[:, 0]
        pooled: FloatArray = np.matmul(mask[:, None].astype(np.float32), states)[:, 0] / lengths[:, None]
        return pooled

    return in_batches(job, forward, 2048, f"compute_type={precision}")   # it packs by itself


RIVALS = (
    Rival("sentence-transformers, batch 32", "float32", "sentence_transformers", sentence_transformers),
    Rival("sentence-transformers, batch 8", "float32", "sentence_transformers",
          partial(sentence_transformers, batch=8)),
    Rival("sentence-transformers, batch 32", "bfloat16", "sentence_transformers",
          partial(sentence_transformers, dtype="bfloat16")),
    *(Rival("OpenVINO", precision, "openvino", partial(open_vino, precision=precision))
      for precision in ("float32", "bfloat16", "int8")),
    *(Rival("ONNX Runtime", precision, "onnxruntime", partial(onnx_runtime, precision=precision))
      for precision in ("float32", "int8")),
    *(Rival("CTranslate2", precision, "ctranslate2", partial(ctranslate, precision=precision))
      for precision in ("float32", "bfloat16", "int8")),
    Rival("FlagEmbedding", "float32", "FlagEmbedding", flag_embedding),
)
"""In the order in which a budget that is too small is given to them."""
PACKAGES = ("sentence-transformers", "transformers", "FlagEmbedding", "onnxruntime", "openvino", "nncf", "ctranslate2")
