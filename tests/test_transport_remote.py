"""Workers that can't open the caller's memory: other namespace, user or machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cloudpickle
import numpy as np
import psutil
import pytest

from daskkit.transport import auto, files, remote, segment
from daskkit.transport import ticket as tickets
from daskkit.transport.errors import TransportError
from daskkit.transport.shared import share

LARGE = 300_000

pytestmark = pytest.mark.skipif(
    not files.have_memfd(), reason="anonymous memory files exist on Linux only"
)


def _replace(name, module, value):
    import importlib

    module = importlib.import_module(module)
    setattr(module, f"before_{name}", getattr(module, name))
    setattr(module, name, value)


def _put_back(name, module):
    import importlib

    module = importlib.import_module(module)
    setattr(module, name, module.__dict__.pop(f"before_{name}"))


def _open_nothing(path, ticket):
    return None


@pytest.fixture(params=["file", "bytes"])
def blocked(request, shared_client):
    """Yield a client whose workers can't open descriptors, nor perhaps the files."""
    replaced = [
        ("_blocked", segment.__name__, True),
        ("_CHUNK", remote.__name__, 10**6),  # several chunks
        ("_KEEP_S", remote.__name__, 0.2),
    ]
    if request.param == "bytes":
        replaced.append(("open_checked", tickets.__name__, _open_nothing))
    # The workers have no module of this name.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        for name, module, value in replaced:
            shared_client.run(_replace, name, module, value)
        yield shared_client
    finally:
        for name, module, _ in replaced:
            shared_client.run(_put_back, name, module)
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def test_handles_work_where_memory_can_not_be_opened(blocked, monkeypatch):
    """The worker gets the bytes in another way, whole and right, for each task."""
    monkeypatch.setattr(remote, "_CHUNK", 10**6)
    array = np.random.default_rng(0).random(LARGE)
    handle = share({"a": array, "n": 1})

    def total(handle, i):
        value = handle.get()
        value["a"][i] += 1  # private, as ever
        return float(value["a"].sum())

    futures = [blocked.submit(total, handle, i, pure=False) for i in range(6)]
    np.testing.assert_allclose(blocked.gather(futures), array.sum() + 1)
    handle.close()


def test_packed_functions_work_there(blocked):
    """Captured arrays reach such a worker."""
    array = np.arange(LARGE)
    packed = auto.pack(lambda i: int(array[i]))

    def run(packed, i):
        from daskkit.transport import auto

        return auto.unpack(packed)(i)

    with packed:
        futures = [blocked.submit(run, packed, i, pure=False) for i in range(4)]
        assert blocked.gather(futures) == [0, 1, 2, 3]


def test_released_memory_is_a_clear_error_there(blocked):
    """A worker that asks for what is gone is told so, at once."""
    packed = auto.pack(np.zeros(LARGE))

    def run(packed):
        from daskkit.transport import auto

        return auto.unpack(packed).sum()

    import pickle

    stream = pickle.dumps(packed)
    packed.close()

    def late(stream):
        import pickle

        return run(pickle.loads(stream))

    with pytest.raises(TransportError, match="the caller no longer has it"):
        blocked.submit(late, stream, pure=False).result()


def test_worker_asks_worker(blocked):
    """A task gets what another worker packed, over Dask's own connections."""
    first, second = blocked.nthreads()

    def make():
        import numpy as np

        from daskkit.transport import auto

        return auto.pack(np.arange(300_000))

    def use(packed):
        from daskkit.transport import auto

        return int(auto.unpack(packed).sum())

    made = blocked.submit(make, pure=False, workers=[first])
    used = blocked.submit(use, made, pure=False, workers=[second])
    assert used.result() == LARGE * (LARGE - 1) // 2


def test_caller_asks_worker(shared_client, monkeypatch):
    """A caller that can't open a worker's memory asks the worker."""
    monkeypatch.setattr(segment, "_blocked", True)
    monkeypatch.setattr(remote, "_CHUNK", 10**6)

    def make():
        import numpy as np

        from daskkit.transport import auto

        return auto.pack(np.arange(300_000))

    for opener in (tickets.open_checked, lambda path, ticket: None):
        monkeypatch.setattr(tickets, "open_checked", opener)
        future = shared_client.submit(make, pure=False)
        packed = future.result()
        np.testing.assert_array_equal(auto.unpack(packed), np.arange(LARGE))


def test_caller_is_told_of_a_worker_that_is_gone(shared_client, monkeypatch):
    """A result whose worker has released it is a clear error."""
    monkeypatch.setattr(segment, "_blocked", True)

    def make():
        import numpy as np

        from daskkit.transport import auto

        return auto.pack(np.arange(300_000))

    future = shared_client.submit(make, pure=False)
    packed = future.result()
    (held,) = packed.segments()
    gone = held.ticket.contact._replace(address="tcp://127.0.0.1:9")
    held.ticket = held.ticket._replace(contact=gone)
    with pytest.raises(TransportError, match="no client here knows its worker"):
        auto.unpack(packed)
    held.ticket = held.ticket._replace(contact=None)
    with pytest.raises(TransportError, match="nobody can be asked"):
        auto.unpack(packed)


def test_silent_holder_is_given_up(shared_client, monkeypatch):
    """A caller that never answers ends in an error, not in a hang."""
    packed = auto.pack(np.zeros(LARGE))
    (held,) = packed.segments()

    def ask(ticket):
        from daskkit.transport import remote, segment

        remote._PATIENCE_S, before = 0.3, remote._PATIENCE_S
        try:
            remote.obtain(segment.attach(ticket))
        except remote.TransportError as error:
            return f"{type(error).__name__}: {error}"
        finally:
            remote._PATIENCE_S = before

    _, (ticket,) = held.__reduce__()
    nobody = ticket.contact._replace(address="daskkit-want-nobody")
    elsewhere = ticket.place._replace(machine="another")
    ticket = ticket._replace(contact=nobody, place=elsewhere, token=b"x" * 16)
    message = shared_client.submit(ask, ticket, pure=False).result()
    assert message.startswith("TransportError: ndarray of shape (300000,)")
    assert "as it doesn't answer" in message


# A worker of the shared cluster that nobody's nanny has started.
WORKER = """
import asyncio, os, signal, sys
from distributed import Worker
from daskkit.run.secret import SecretSecurity
async def main():
    security = SecretSecurity(bytes.fromhex(os.environ["TEST_SECRET"]))
    async with Worker(sys.argv[1], nthreads=1, host="127.0.0.1", protocol="daskkit",
                      name="elsewhere", security=security, dashboard=False,
                      local_directory=sys.argv[2]) as worker:
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGTERM, lambda: asyncio.ensure_future(worker.close()))
        await worker.finished()
asyncio.run(main())
"""


NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


@pytest.fixture
def open_folder():
    """Yield a folder of this test alone that any user may write to.

    Others may not pass the folders above `tmp_path`.
    """
    with tempfile.TemporaryDirectory(prefix="daskkit-elsewhere-", dir="/tmp") as folder:
        Path(folder).chmod(0o777)
        yield folder


@pytest.fixture(params=["pid namespace", "other user"])
def elsewhere(request, shared_client, tmp_path, open_folder):
    """Yield the address of an extra worker that can't open this process's memory."""
    prefix = NAMESPACE if request.param == "pid namespace" else NOBODY
    if os.getuid() != 0 or shutil.which(prefix[0]) is None:
        pytest.skip(f"a worker in another {request.param} needs root and {prefix[0]}")
    environment = {**os.environ, "TMPDIR": open_folder, "HOME": open_folder}
    with contextlib.suppress(OSError):
        probe = subprocess.run(
            [*prefix, sys.executable, "-c", "import daskkit"],
            env=environment,
            cwd="/",
            capture_output=True,
            check=False,
        )
        if probe.returncode:
            pytest.skip(f"not possible here: {probe.stderr.decode()[-300:]}")
    said = tmp_path / "stderr.txt"
    command = [*prefix, sys.executable, "-c", WORKER]
    secret = shared_client.security.secret.hex()
    with said.open("wb") as stream:
        process = subprocess.Popen(
            [*command, shared_client.scheduler.address, open_folder],
            env={**environment, "TEST_SECRET": secret},
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=stream,
        )
    before = set(shared_client.nthreads())
    try:
        deadline = time.monotonic() + 60
        while not (new := set(shared_client.nthreads()) - before):
            assert process.poll() is None, said.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, "the worker never came"
            time.sleep(0.1)
        yield new.pop()
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.send_signal(signal.SIGTERM)
        process.terminate()
        process.wait(30)
        deadline = time.monotonic() + 30
        while set(shared_client.nthreads()) - before:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.slow
def test_worker_elsewhere(shared_client, elsewhere):
    """A worker in another pid namespace or of another user: both directions work."""
    array = np.random.default_rng(0).random(LARGE)

    def double(handle):
        from daskkit.transport import auto

        value = handle.get()
        return auto.pack(value * 2, home=handle.place)

    with share(array) as handle:
        for _ in range(2):
            packed = shared_client.submit(
                double, handle, pure=False, workers=[elsewhere]
            ).result()
            np.testing.assert_array_equal(auto.unpack(packed), array * 2)
