"""The way to a Qdrant server: where it is, with which key, and what is done when it fails.

Every request is safe to send twice, so one that failed on the way is sent again, later and later; what a server has not
confirmed counts as not done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from json import JSONDecodeError
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from qianru.errors import BadInput, ClusterFailed, require
from qianru.index.address import KEY
from qianru.models import environment
from qianru.models.web import WORTH_ANOTHER_TRY, Failure, Patience, asked_wait, is_private, shown, try_again

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

USUAL_PATIENCE = Patience(timeout_s=60, attempts=6, first_wait_s=0.5)
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Link:
    """A server that can be asked.

    where: as it is shown in errors;  secret: never shown, also where the server repeats it
    """

    client: QdrantClient
    where: str
    patience: Patience = USUAL_PATIENCE
    secret: str | None = field(default=None, repr=False)

    @classmethod
    def to(cls, base: str, *, api_key: str | None = None, patience: Patience = USUAL_PATIENCE) -> Link:
        """A link to a server; nothing is sent yet.

        api_key: else the environment's QIANRU_QDRANT_API_KEY, else none
        Raises BadInput where a key would travel for everybody to read.
        """
        require("qdrant_client", "cluster", "A collection on a Qdrant cluster")
        from qdrant_client import QdrantClient

        key = api_key or environment.secret(KEY)
        if key is not None and not is_private(base):
            raise BadInput(
                f"The key would be sent to {base} for everybody on the way to read. Use https://, or leave the key "
                f"out (${KEY}) if the server needs none."
            )
        client = QdrantClient(
            url=base, timeout=max(int(patience.timeout_s), 1), check_compatibility=False,
            headers={} if key is None else {"api-key": key},       # as api_key= it would warn, also on this machine
        )
        return cls(client, base, patience, key)

    @property
    def in_memory(self) -> bool:
        """Whether there is no server: the client library's own imitation answers, in this process."""
        from qdrant_client.local.qdrant_local import QdrantLocal

        return isinstance(self.client._client, QdrantLocal)

    def ask(self, what: str, request: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The answer to one request of the client, sent again where that may help.

        what: as in "could not be …", for the error
        Raises ClusterFailed.
        """
        def exchange() -> T:
            try:
                return request(*args, **kwargs)
            except Exception as error:
                failure = _failure(self.where, error, self.patience.timeout_s)
                if failure is None:
                    raise
                raise failure from None

        try:
            return try_again(exchange, self.patience)
        except Failure as failure:
            said = str(failure) if self.secret is None else str(failure).replace(self.secret, "…")
            raise ClusterFailed(f"{self.where}: it could not be {what}. {said} {_advice(failure)}",
                                failure.status) from None

    def close(self) -> None:
        """Lets go of the connections; closing twice is fine."""
        self.client.close()


def _advice(failure: Failure) -> str:
    if failure.status in (401, 403):
        return f"Set ${KEY} to a key that may do this, or pass api_key."
    if failure.status == 404:
        return "Look at the name of the collection and at the address."
    if failure.status is not None and not failure.transient:
        return "Nothing of this request was stored."
    return "What was confirmed before is stored; run it again when the server is well, nothing will stand there twice."


def _failure(where: str, error: Exception, timeout_s: float) -> Failure | None:
    """What the client library's error means; None for one that is not about the exchange."""
    from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    if isinstance(error, ResourceExhaustedResponse):
        return Failure(f"The server answers 429: '{shown(str(error).encode())}'.", status=429, transient=True,
                       wait_s=float(error.retry_after_s))
    if isinstance(error, UnexpectedResponse):
        status = error.status_code or 0
        return Failure(f"The server answers {status} {error.reason_phrase}: '{shown(error.content)}'.", status=status,
                       transient=status in WORTH_ANOTHER_TRY)
    if isinstance(error, ResponseHandlingException):
        return _broken(where, error.source, timeout_s)
    if isinstance(error, JSONDecodeError | AssertionError):      # no JSON, or without the result that belongs there
        return _broken(where, error, timeout_s)
    if isinstance(error, QdrantException):      # it takes Retry-After for a number, and it may be a date
        return Failure("The server answers 429.", status=429, transient=True,
                       wait_s=asked_wait(str(error).rpartition("integer: ")[2]))
    return None


def _broken(where: str, source: Exception, timeout_s: float) -> Failure:
    import httpx

    if isinstance(source, httpx.TimeoutException):
        return Failure(f"The server sent nothing for {timeout_s:.0f} seconds.", transient=True)
    if isinstance(source, httpx.TransportError):
        return Failure(f"The connection failed: {source or type(source).__name__}.", transient=True)
    said = shown(str(source).encode("utf-8", "replace"))
    return Failure(f"The answer is not Qdrant's ({said}). Is there a Qdrant server at {where}?")
