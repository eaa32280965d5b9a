"""What the environment says: where models are kept and come from, and keys. Read at the call, never at import.

    QIANRU_CACHE                   where downloads are kept; else $XDG_CACHE_HOME/qianru; else ~/.cache/qianru
    HF_ENDPOINT                    a mirror of Hugging Face, e.g. https://hf-mirror.com
    MODELSCOPE_DOMAIN              a mirror of ModelScope
    HF_TOKEN                       for models that Hugging Face gives out on request
    QIANRU_OFFLINE, HF_HUB_OFFLINE 1: nothing is downloaded
    OPENAI_BASE_URL                the endpoint that is meant when a remote model names none
    QIANRU_API_KEYS                keys, apart by commas, that `qianru serve` lets in
    QIANRU_API_KEY                 the key that `qianru bench-server` shows
    QIANRU_CHAT_URL, QIANRU_CHAT_MODEL, QIANRU_CHAT_KEY
                                   the chat endpoint that writes answers, the model there, its key if it wants one
    QIANRU_QDRANT_API_KEY          for collections on a Qdrant server that asks for one
    QIANRU_TRUSTED_HOSTS           hosts, apart by commas, that a saved remote model may send texts and its key to
"""

from __future__ import annotations

import os
from pathlib import Path

HUGGINGFACE = "https://huggingface.co"
MODELSCOPE = "https://www.modelscope.cn"
OPENAI = "https://api.openai.com/v1"


def cache_folder() -> Path:
    """Where downloads are kept."""
    named = os.environ.get("QIANRU_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "qianru"


def huggingface_endpoint() -> str:
    """Hugging Face, or the mirror of it that is to be used."""
    return _url(os.environ.get("HF_ENDPOINT") or HUGGINGFACE)


def modelscope_endpoint() -> str:
    """ModelScope, or the mirror of it that is to be used."""
    return _url(os.environ.get("MODELSCOPE_DOMAIN") or MODELSCOPE)


def huggingface_token() -> str | None:
    """The user's token, if there is one."""
    return os.environ.get("HF_TOKEN") or None


def is_offline() -> bool:
    """Whether nothing may be downloaded."""
    return any(os.environ.get(name, "").lower() in {"1", "true", "yes", "on"}
               for name in ("QIANRU_OFFLINE", "HF_HUB_OFFLINE"))


def openai_url() -> str:
    """The endpoint that is meant when a remote model names none."""
    return _url(os.environ.get("OPENAI_BASE_URL") or OPENAI)


def chat_url() -> str | None:
    """The endpoint of the chat model that writes answers; None if none is named."""
    named = os.environ.get("QIANRU_CHAT_URL", "").strip()
    return _url(named) if named else None


def chat_model() -> str:
    """The name of the chat model at its endpoint; empty if none is named."""
    return os.environ.get("QIANRU_CHAT_MODEL", "").strip()


def chat_key(url: str) -> str | None:
    """The key for a chat endpoint. OpenAI's goes to the endpoint that it is for, and to no other that may be named."""
    return secret("QIANRU_CHAT_KEY") or (secret("OPENAI_API_KEY") if url in (openai_url(), OPENAI) else None)


def trusted_hosts() -> set[str]:
    """Hosts that a saved remote model may send texts and its key to."""
    return {host.strip().lower() for host in os.environ.get("QIANRU_TRUSTED_HOSTS", "").split(",") if host.strip()}


def secret(variable: str) -> str | None:
    """The key in the variable by that name, if there is one."""
    return os.environ.get(variable, "").strip() or None


def _url(named: str) -> str:
    """With a scheme and without a slash at the end.

    >>> _url("hf-mirror.com/")
    'https://hf-mirror.com'
    """
    named = named.strip().rstrip("/")
    return named if "://" in named else f"https://{named}"
