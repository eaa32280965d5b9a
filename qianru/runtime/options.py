"""How to run a model: what the user says (Runtime), and what this machine makes of it (Device)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from qianru.errors import BadInput, UnknownName, require

Precision: TypeAlias = Literal["float32", "bfloat16", "int8"]
DeviceName: TypeAlias = Literal["cpu", "cuda"]
CPU_BATCH = 1024      # real tokens; 512 to 2,048 made no difference on two cores
CUDA_BATCH = 32768


@dataclass(frozen=True, slots=True)
class Runtime:
    """How to run a model. The vectors depend on max_tokens, truncate_dim and normalize, and a little on precision.

    precision: "float32" is exact; "auto" is bfloat16 where the processor multiplies it natively, else float32;
        "int8" must be asked for (it keeps a cosine of about .997 to float32, which loading checks)
    device: "auto" is the GPU if there is one that torch can use
    max_tokens: cut texts after so many tokens; None for what the model was made for
    batch_tokens: real tokens computed at once; None for 1,024 on a CPU and 32,768 on a GPU
    threads: of the CPU; None for all cores
    truncate_dim: keep the first so many dimensions (before normalising); None for all
    normalize: vectors of length 1; None for what the model's folder says
    """

    precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    max_tokens: int | None = None
    batch_tokens: int | None = None
    threads: int | None = None
    truncate_dim: int | None = None
    normalize: bool | None = None

    def __post_init__(self) -> None:
        for name, known in (("precision", ("auto", *get_args(Precision))), ("device", ("auto", *get_args(DeviceName)))):
            if getattr(self, name) not in known:
                raise UnknownName(name, str(getattr(self, name)), known)
        for name in ("max_tokens", "batch_tokens", "threads", "truncate_dim"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise BadInput(f"{name} must be a whole number of at least 1, or None; it is {value!r}.")


@dataclass(frozen=True, slots=True)
class Device:
    """What a Runtime comes to on this machine."""

    name: DeviceName
    precision: Precision
    batch_tokens: int
    threads: int | None

    @classmethod
    def of(cls, runtime: Runtime) -> Device:
        """Chooses; BadInput for what was asked for and is not there."""
        torch = require("torch", "torch", "Running a transformer model")
        name: DeviceName = "cpu" if runtime.device == "cpu" or not torch.cuda.is_available() else "cuda"
        if runtime.device == "cuda" and name != "cuda":
            raise BadInput("There is no CUDA device that torch can use. Leave device out, or install torch for CUDA.")
        if runtime.precision == "int8" and name == "cuda":
            raise BadInput("int8 runs on the CPU only. Use device='cpu', or precision='bfloat16'.")
        precision: Precision
        if runtime.precision == "auto":
            precision = "bfloat16" if multiplies_bfloat16(name) else "float32"
        else:
            precision = runtime.precision
        usual = CPU_BATCH if name == "cpu" else CUDA_BATCH
        return cls(name, precision, runtime.batch_tokens or usual, runtime.threads)


def multiplies_bfloat16(name: DeviceName) -> bool:
    """Whether the processor has instructions for it: elsewhere it is emulated, slower than float32."""
    import torch

    if name == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
