"""Connections of Dask to which only those who know the cluster's secret are let.

Whoever can talk to a scheduler or a worker can run code as its owner, and distributed
lets in everybody who can connect: on the loopback interface, all users of the machine.
The scheme ``daskkit://`` is ``tcp://`` with a handshake before the first message: both
sides prove that they know a secret, without telling it. Other users can't read what
goes over the loopback interface, so nothing is encrypted, and nothing gets slower.
"""

# distributed has no types for what is derived from here.
# mypy: allow-untyped-calls

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from typing import TYPE_CHECKING, Any

from distributed import Security
from distributed.comm.core import CommClosedError, FatalCommClosedError
from distributed.comm.registry import backends
from distributed.comm.tcp import TCPBackend, TCPConnector, TCPListener
from tornado.iostream import StreamClosedError

if TYPE_CHECKING:
    from distributed.comm.tcp import TCP
    from tornado.iostream import IOStream

__all__ = ["SCHEME", "SecretSecurity"]

#: Of the addresses of a cluster with a secret.
SCHEME = "daskkit://"
_N_BYTES = 32
# What both say first; another version would say something else.
_HELLO = b"daskkit1"
# Longer than an item may hold the GIL, and with it the event loop of its process.
_PATIENCE_S = 300.0
_logger = logging.getLogger("distributed.comm.daskkit")
# Secrets of the schedulers and workers that this process has listened as or connected
# to, by address: a task that asks for a client has its worker's.
_known: dict[str, bytes] = {}


class SecretSecurity(Security):
    """What the processes of a cluster have in common: a secret, and no certificates.

    Where it is unpickled, ``daskkit://`` addresses can be used.

    Parameters
    ----------
    secret : bytes, optional
        32 bytes. Default: new ones.

    Examples
    --------
    >>> SecretSecurity().secret == SecretSecurity().secret
    False
    >>> b"x" in repr(SecretSecurity(b"x" * 32)).encode()
    False
    """

    def __init__(self, secret: bytes | None = None) -> None:
        super().__init__(require_encryption=False)
        self.secret = secrets.token_bytes(_N_BYTES) if secret is None else secret

    def __repr__(self) -> str:
        return "SecretSecurity()"

    def get_connection_args(self, role: str) -> dict[str, Any]:
        """Return what connectors get; see `distributed.Security`."""
        return {**super().get_connection_args(role), "secret": self.secret}

    def get_listen_args(self, role: str) -> dict[str, Any]:
        """Return what listeners get; see `distributed.Security`."""
        return {**super().get_listen_args(role), "secret": self.secret}


class _Connector(TCPConnector):
    prefix = SCHEME

    async def connect(
        self, address: str, deserialize: bool = True, **connection_args: Any
    ) -> TCP:
        """Connect; before the first message the other side has to prove itself."""
        where = f"{SCHEME}{address}"
        secret = connection_args.get("secret") or _known.get(where)
        if secret is None:
            msg = (
                f"{where} belongs to a cluster with a secret; use its own client, or "
                "daskkit.cluster(NAME) for one that `daskkit cluster` has started"
            )
            raise FatalCommClosedError(msg)
        comm: TCP = await super().connect(address, deserialize, **connection_args)
        write = comm.write

        async def prove_and_write(*args: Any, **kwargs: Any) -> Any:
            vars(comm).pop("write", None)  # what follows costs nothing more
            await _introduce(comm, where, secret)
            return await write(*args, **kwargs)

        # Not here: distributed gives the other side as long as it takes to answer the
        # first message, but not to be connected. An item may hold the GIL for long.
        comm.write = prove_and_write  # type: ignore[method-assign] # as above
        return comm


async def _introduce(comm: TCP, where: str, secret: bytes) -> None:
    """Prove to know the secret, and have the other side do so; raise if it fails."""
    assert comm.stream is not None  # it has just been connected
    try:
        proof = _prove_as_client(comm.stream, secret)
        is_known = await asyncio.wait_for(proof, _PATIENCE_S)
    except (StreamClosedError, TimeoutError) as error:
        comm.abort()
        # It ends just now, or knows another secret and has hung up.
        msg = f"{where} has not said who it is"
        raise CommClosedError(msg) from error
    except BaseException:
        comm.abort()
        raise
    if not is_known:
        comm.abort()
        msg = f"whoever listens at {where} does not know the cluster's secret"
        raise FatalCommClosedError(msg)
    _known[where] = secret


class _Listener(TCPListener):
    prefix = SCHEME

    def __init__(self, *args: Any, secret: bytes | None = None, **kwargs: Any) -> None:
        if secret is None:
            msg = f"who listens at a {SCHEME} address needs a SecretSecurity"
            raise ValueError(msg)
        super().__init__(*args, **kwargs)
        self._secret = secret
        self._unproven: set[IOStream] = set()

    async def start(self) -> None:
        """Listen."""
        await super().start()
        _known[self.contact_address] = self._secret

    def stop(self) -> None:
        """Listen no more, and hang up on those who have proved nothing yet."""
        if self.tcp_server is not None:
            _known.pop(self.contact_address, None)
        super().stop()
        for stream in list(self._unproven):
            stream.close()

    async def _prepare_stream(self, stream: IOStream, address: str) -> IOStream | None:
        """Return the stream if who has connected knows the secret, else hang up."""
        self._unproven.add(stream)
        try:
            proof = _prove_as_server(stream, self._secret)
            if await asyncio.wait_for(proof, _PATIENCE_S):
                return stream
            _logger.warning("Refused %s, which doesn't know the secret", address)
        except (StreamClosedError, TimeoutError):
            _logger.info("%s has connected and said nothing", address)
        finally:
            self._unproven.discard(stream)
        stream.close()
        return None


class _Backend(TCPBackend):
    _connector_class = _Connector
    _listener_class = _Listener


backends[SCHEME.removesuffix("://")] = _Backend()


# The handshake. Each side chooses a number, and neither answers the other's without
# saying which side it is: an answer can't be used twice, nor sent back.


async def _prove_as_client(stream: IOStream, secret: bytes) -> bool:
    """Prove to know the secret; return whether the other side does, too."""
    own = secrets.token_bytes(_N_BYTES)
    await stream.write(_HELLO + own)
    answer = await stream.read_bytes(len(_HELLO) + 2 * _N_BYTES)
    hello, other, proof = _cut(answer)
    if hello != _HELLO or not _is_proof(proof, secret, b"server", own + other):
        return False
    await stream.write(_prove(secret, b"client", own + other))
    return True


async def _prove_as_server(stream: IOStream, secret: bytes) -> bool:
    """Return whether the other side knows the secret; prove it, too."""
    greeting = await stream.read_bytes(len(_HELLO) + _N_BYTES)
    hello, other, _ = _cut(greeting)
    if hello != _HELLO:
        return False
    own = secrets.token_bytes(_N_BYTES)
    await stream.write(_HELLO + own + _prove(secret, b"server", other + own))
    proof = await stream.read_bytes(_N_BYTES)
    return _is_proof(proof, secret, b"client", other + own)


def _cut(message: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the three parts of a message; the last may be empty."""
    middle, end = len(_HELLO), len(_HELLO) + _N_BYTES
    return message[:middle], message[middle:end], message[end:]


def _prove(secret: bytes, side: bytes, numbers: bytes) -> bytes:
    return hmac.digest(secret, side + numbers, "sha256")


def _is_proof(proof: bytes, secret: bytes, side: bytes, numbers: bytes) -> bool:
    return hmac.compare_digest(proof, _prove(secret, side, numbers))
