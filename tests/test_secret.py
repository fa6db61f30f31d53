"""Whoever doesn't know a cluster's secret is neither let in nor believed."""

from __future__ import annotations

import asyncio
import os
import pickle
import queue
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import warnings
from pathlib import Path
from urllib.parse import urlsplit

import dask
import psutil
import pytest
from distributed import rpc
from distributed.comm import connect, listen
from distributed.comm.core import CommClosedError, FatalCommClosedError

import daskkit as dk
from daskkit.run import cluster as cluster_module
from daskkit.run.secret import SecretSecurity

ADDRESS = "daskkit://127.0.0.1:0"
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


async def _serve(comm):
    await comm.write(await comm.read())


async def _ask(listener, security):
    """Return what a listener that echoes answers to a client."""
    arguments = security.get_connection_args("client")
    comm = await connect(listener.contact_address, timeout=5, **arguments)
    try:
        await comm.write({"x": 1})
        return await comm.read()
    finally:
        await comm.close()


def _listen(security):
    return listen(ADDRESS, _serve, **security.get_listen_args("scheduler"))


def test_those_who_know_it_talk():
    """Also after the secret has travelled, as to a worker."""
    security = SecretSecurity()

    async def run():
        async with _listen(security) as listener:
            copy = pickle.loads(pickle.dumps(security))
            return await _ask(listener, copy)

    assert asyncio.run(run()) == {"x": 1}


def test_those_who_do_not_are_refused():
    """Neither a wrong secret nor plain TCP gets an answer; the others go on."""
    security = SecretSecurity()

    async def run():
        async with _listen(security) as listener:
            with pytest.raises((CommClosedError, FatalCommClosedError)):
                await _ask(listener, SecretSecurity())
            plain = listener.contact_address.replace("daskkit:", "tcp:")
            with pytest.raises(OSError, match=r".+"):
                await connect(plain, timeout=1)
            return await _ask(listener, security)

    assert asyncio.run(run()) == {"x": 1}


@pytest.mark.parametrize("how", ["echo", "silence", "noise"])
def test_listener_that_does_not_know_it_is_not_believed(monkeypatch, how):
    """Somebody who has taken a port gets no message, not even by sending ours back."""

    async def pretend(reader, writer):
        greeting = await reader.read(40)
        if how == "echo":
            writer.write(greeting + greeting[8:])
        elif how == "noise":
            writer.write(bytes(72))
        received.append(await reader.read(1000))
        writer.close()

    monkeypatch.setattr("daskkit.run.secret._PATIENCE_S", 1.0)
    received: list[bytes] = []

    async def run():
        server = await asyncio.start_server(pretend, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            arguments = SecretSecurity().get_connection_args("client")
            with pytest.raises(OSError, match=r".+"):
                await connect(f"daskkit://127.0.0.1:{port}", timeout=1, **arguments)
            await asyncio.sleep(0.1)  # for the pretender to see that we have hung up

    asyncio.run(run())
    assert set(received) <= {b""}


def test_address_without_a_secret_says_what_to_do():
    """A client that was given the address alone is told how to get in."""

    async def run():
        with pytest.raises(FatalCommClosedError, match="cluster with a secret; use"):
            await connect("daskkit://127.0.0.1:1", timeout=1)

    asyncio.run(run())
    with pytest.raises(ValueError, match="needs a SecretSecurity"):
        listen(ADDRESS, _serve)


def test_listener_ends_while_somebody_says_nothing():
    """An open connection that proves nothing does not hold it up."""

    async def run():
        async with _listen(SecretSecurity()) as listener:
            host, port = listener.get_host_port()
            _, writer = await asyncio.open_connection(host, port)
            await asyncio.sleep(0.1)
        writer.close()
        await asyncio.sleep(0.05)

    asyncio.run(run())


def test_listener_that_is_busy_is_waited_for():
    """As by distributed itself: longer than a connection may take to be made."""
    security = SecretSecurity()
    listeners = queue.Queue()
    done = threading.Event()

    async def serve():
        async with _listen(security) as listener:
            listeners.put(listener)
            await asyncio.sleep(0)
            time.sleep(1.5)  # noqa: ASYNC251 - as an item that holds the GIL
            while not done.is_set():  # noqa: ASYNC110 - set by another thread
                await asyncio.sleep(0.01)

    async def ask(listener):
        arguments = security.get_connection_args("client")
        comm = await connect(listener.contact_address, timeout=0.5, **arguments)
        await comm.write({"x": 1})
        answer = await comm.read()
        await comm.close()
        return answer

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert asyncio.run(ask(listeners.get(timeout=20))) == {"x": 1}
    finally:
        done.set()
        thread.join()


def test_client_within_a_task(shared_client):
    """Tasks can ask for a client, and so can this process by the address."""

    def nested(x):
        from distributed import worker_client

        with worker_client() as client:
            return client.submit(abs, x, pure=False).result()

    assert shared_client.scheduler.address.startswith("daskkit://127.0.0.1:")
    assert shared_client.submit(nested, -3, pure=False).result() == 3


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells")
def test_secret_is_on_no_command_line_and_in_no_environment(shared_client):
    """Neither as it is nor in hexadecimal digits, in any process."""
    secret = shared_client.security.secret
    tree = [psutil.Process(), *psutil.Process().children(recursive=True)]
    assert len(tree) > 2
    for process in tree:
        for name in ("cmdline", "environ"):
            content = Path(f"/proc/{process.pid}/{name}").read_bytes()
            assert secret not in content
            assert secret.hex().encode() not in content.lower()


def test_folder_is_private_under_any_umask():
    """What workers write, they write where nobody else can look."""
    umask = os.umask(0)
    try:
        with dk.cluster(n_workers=1, processes=False):
            folders = list(Path(tempfile.gettempdir()).glob("daskkit-*"))
            modes = {stat.S_IMODE(one.stat().st_mode) for one in folders}
    finally:
        os.umask(umask)
    assert modes == {0o700}


def test_far_cluster_without_encryption_is_warned_of_once():
    """Its address is in the warning; tls, this machine and the second time are quiet."""
    with pytest.warns(UserWarning, match=r"tcp://192\.0\.2\.7:8786 takes orders from"):
        cluster_module._warn_of_open("tcp://192.0.2.7:8786")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for address in (
            "tcp://192.0.2.7:8786",
            "tls://192.0.2.8:8786",
            "tcp://127.0.0.1:8786",
            "localhost:8786",
            f"tcp://{socket.gethostname()}:8786",
            "inproc://192.0.2.9/1/2",
        ):
            cluster_module._warn_of_open(address)


def test_encryption_that_the_user_asks_for_is_used(tmp_path):
    """Dask's own setting leads to TLS, here without certificates and so to an error."""
    with (
        dask.config.set({"distributed.comm.require-encryption": True}),
        pytest.raises(dk.ClusterError, match="did not start"),
        dk.cluster(n_workers=1),
    ):
        pass


# What somebody else on this machine tries; prints what worked.
STRANGER = """
import asyncio, os, re, socket, struct, sys, urllib.request
from pathlib import Path
from distributed import rpc
from daskkit.run.secret import SecretSecurity
folder, ports, pids = sys.argv[1], sys.argv[2].split(","), sys.argv[3].split(",")
assert os.getuid() == 65534

async def talk(address, security=None):
    arguments = security.get_connection_args("client") if security else {}
    async with rpc(address, connection_args=arguments, timeout=1) as far:
        await asyncio.wait_for(far.identity(), 1.5)
        print("talked to", address, flush=True)

async def knock():
    tries = [talk(f"tcp://127.0.0.1:{port}") for port in ports]
    tries += [talk(f"daskkit://127.0.0.1:{port}", SecretSecurity()) for port in ports]
    errors = await asyncio.gather(*tries, return_exceptions=True)
    assert len(errors) == 2 * len(ports)

asyncio.run(knock())
for port in ports:
    try:
        answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
        if answer.status == 200 and port == sys.argv[4]:
            print("was shown", port, flush=True)
    except OSError:
        pass
files = [folder] + [f"/proc/{pid}/{name}" for pid in pids for name in ("fd", "maps",
                    "environ", "mem")]
for path in files:
    try:
        list(Path(path).iterdir()) if Path(path).is_dir() else Path(path).read_bytes()
        print("read", path, flush=True)
    except OSError:
        pass
names = re.findall(r"@(daskkit-\\w+)", Path("/proc/net/unix").read_text())
for name in names:
    end = socket.socket(socket.AF_UNIX)
    end.settimeout(2)
    try:
        end.connect("\\0" + name)
        end.sendall(struct.pack("32sqq", bytes(32), os.getpid(), 1))
        if end.recv(100):
            print("was answered by", name, flush=True)
    except OSError:
        pass
print("tried", len(names) > 0)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0 or shutil.which("setpriv") is None,
    reason="only root can be somebody else",
)
def test_stranger_is_kept_out(shared_client, tmp_path):
    """Another user of this machine gets no answer, and reads nothing, amid a call."""
    script = Path(tempfile.mkdtemp(dir="/tmp", prefix="stranger-"))
    try:
        script.chmod(0o755)
        (script / "stranger.py").write_text(textwrap.dedent(STRANGER))
        tree = [psutil.Process(), *psutil.Process().children(recursive=True)]
        ports = {
            str(c.laddr.port)
            for one in tree
            for c in one.net_connections()
            if c.status == "LISTEN"
        }
        dashboard = urlsplit(shared_client.dashboard_link).netloc.split(":")[1]
        assert dashboard in ports
        assert len(ports) >= 5  # scheduler, dashboard, nannies, workers
        command = [
            *NOBODY,
            sys.executable,
            str(script / "stranger.py"),
            tempfile.gettempdir(),
            ",".join(sorted(ports)),
            ",".join(str(one.pid) for one in tree),
            dashboard,
        ]
        stream = dk.imap(_sleep, range(100_000), where="cluster")
        next(stream)
        environment = {**os.environ, "TMPDIR": "/tmp", "HOME": "/nonexistent"}
        done = subprocess.run(
            command,
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        stream.close()
    finally:
        shutil.rmtree(script)
    if "No module named" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip("this Python is closed to others")
    assert (done.stdout.strip(), done.returncode) == ("tried True", 0), done.stderr


def _sleep(x):
    time.sleep(0.01)
    return x


async def _identity(address, security):
    arguments = security.get_connection_args("client")
    async with rpc(address, connection_args=arguments) as scheduler:
        return await scheduler.identity()


def test_owner_is_let_in(shared_client):
    """The counterpart of what the stranger tries: with the secret it works."""
    address = shared_client.scheduler.address
    found = asyncio.run(
        _identity(address, SecretSecurity(shared_client.security.secret))
    )
    assert found["address"] == address
