"""Workers that run out of memory, and disks that are full."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import daskkit as dk
from tests.faults import Program

pytestmark = [
    pytest.mark.slow,
    # distributed says what it does about workers without memory.
    pytest.mark.filterwarnings("ignore"),
]


def _itself(x):
    return x


def _make_array(i):
    return np.full(12_500_000, float(i))  # 100 MB


@pytest.mark.skipif(sys.platform != "linux", reason="the nanny needs resident memory")
def test_item_over_the_limit_is_named(make_faulty):
    """With the memory that it held and the limit; the others' results are there."""
    with dk.cluster(n_workers=2, memory_limit="600MB"):
        faulty = make_faulty(_itself, "memory", lambda x: x == 7)
        results = dk.map(faulty, range(20), where="cluster", on_error="collect")
        (failure,) = results.failures
        assert failure.index == 7
        assert isinstance(failure.error, dk.WorkerDiedError)
        for words in ("item 7", "out of memory: it held", "its limit is 572 MiB"):
            assert words in str(failure.error)
        assert dk.map(abs, range(-9, 0), where="cluster") == list(range(9, 0, -1))


def test_results_that_are_larger_than_the_workers():
    """2 GB under two workers of 600 MB: the caller takes them as they come."""
    with dk.cluster(n_workers=2, memory_limit="600MB"):
        results = dk.map(_make_array, range(20), where="cluster")
        assert [result[-1] for result in results] == list(range(20))
        assert sum(result.nbytes for result in results) == 2_000_000_000


FULL_DISK = """
import numpy as np
with dk.cluster(n_workers=2, memory_limit="600MB") as client:
    results = dk.map(lambda i: np.full(12_500_000, float(i)), range(14), where="cluster")
    say([one[-1] for one in results] == list(range(14)))
    texts = dk.map(lambda i: str(i) * 50_000_000, range(10), where="cluster")
    say([text[0] for text in texts] == list("0123456789"))
"""


@pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0 or shutil.which("unshare") is None,
    reason="only root can mount a small disk",
)
def test_full_disk(tmp_path):
    """Verbs don't need it: what workers have computed does not stay there."""
    (tmp_path / "tmp").mkdir()
    mount = f'mount -t tmpfs -o size=1m tmpfs \'{tmp_path}/tmp\' && exec "$0" "$@"'
    command = ("unshare", "--mount", "sh", "-c", mount)
    if subprocess.run([*command, "true"], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    with Program(FULL_DISK, tmp_path, before=command) as program:
        assert program.await_end(60) == "True\nTrue", program.errors
        program.check_nothing_left()


FULL_DISK_OF_TASKS = """
import logging
import numpy as np
logging.getLogger("distributed").setLevel(logging.CRITICAL)
with dk.cluster(n_workers=2, memory_limit="600MB") as client:
    futures = client.map(
        lambda i: np.full(12_500_000, float(i)), range(16), pure=False
    )
    try:
        client.gather(futures)
    except MemoryError as error:
        say(type(error).__name__, error)
    del futures
    say(dk.map(abs, range(-3, 0)))
"""


@pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0 or shutil.which("unshare") is None,
    reason="only root can mount a small disk",
)
def test_tasks_of_dask_and_a_full_disk(tmp_path):
    """What nobody can execute any more fails, and says why."""
    (tmp_path / "tmp").mkdir()
    mount = f'mount -t tmpfs -o size=1m tmpfs \'{tmp_path}/tmp\' && exec "$0" "$@"'
    command = ("unshare", "--mount", "sh", "-c", mount)
    if subprocess.run([*command, "true"], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    with Program(FULL_DISK_OF_TASKS, tmp_path, before=command) as program:
        first, second = program.await_end(60).splitlines()
        assert first.startswith("NoRoomError all 2 workers have paused"), first
        assert "their limit is 572 MiB each" in first
        assert second == "[3, 2, 1]"
        program.check_nothing_left()
