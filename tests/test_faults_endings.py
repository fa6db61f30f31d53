"""Programs that are interrupted, killed or just end: nothing is left, nothing is lost."""

from __future__ import annotations

import signal
import time

import pytest

from tests.faults import Program, read_errors

pytestmark = pytest.mark.slow

# A program that does not come to its end within so long hangs.
_HANGS_S = 40.0
# What a person calls noise: Python's tracebacks of processes that nobody knows of.
_TRACEBACK = "Traceback (most recent call last)"

WITH_CLUSTER = "with dk.cluster(n_workers=2) as client:\n    "
# It goes on after each Ctrl-C, and maps again in the end.
INTERRUPTED = """
import distributed  # so that the time until a cluster works is shorter
dk.map(busy, range(300), where={where!r})
say("ready")
for _ in range(2):
    try:
        while True:
            dk.map(busy, range(20_000), where={where!r})
    except KeyboardInterrupt:
        say("interrupted")
say(dk.map(busy, range(300), where={where!r}) == list(range(300)))
"""


@pytest.mark.parametrize("where", ["auto", "threads", "cluster"])
def test_interrupted_program_goes_on(tmp_path, where):
    """Ctrl-C in a terminal is one KeyboardInterrupt; the next call works as before."""
    with Program(INTERRUPTED.format(where=where), tmp_path) as program:
        program.await_line("ready")
        for _ in range(2):
            # Children have to be started first, and the start of a cluster begun.
            time.sleep(1.0 if where == "auto" else 0.4)
            program.interrupt(group=True)
            program.await_line("interrupted", _HANGS_S)
        assert program.await_end(_HANGS_S) == "True", program.errors
        assert program.errors == ""
        program.check_nothing_left()


@pytest.mark.parametrize("presses", [1, 2])
@pytest.mark.parametrize("where", ["auto", "cluster"])
def test_interrupted_program_ends(tmp_path, where, presses):
    """One traceback, however often it is pressed, and no orphan."""
    first = "" if where == "auto" else f"dk.map(busy, range(300), where={where!r})"
    code = f"""
{first}
say("ready")
while True: dk.map(busy, range(20_000), where={where!r})
"""
    with Program(code, tmp_path) as program:
        program.await_line("ready")
        time.sleep(1.0 if where == "auto" else 0.4)
        for _ in range(presses):
            program.interrupt(group=True)
            time.sleep(0.2)
        program.await_end(_HANGS_S)
        assert program.process.returncode != 0
        # Pressed again while Python ends, it is Python's to say so.
        assert presses > 1 or program.errors.count(_TRACEBACK) == 1, program.errors
        program.check_nothing_left()


@pytest.mark.parametrize("delay", [0.1, 1.0])
def test_interrupt_during_start(tmp_path, delay):
    """A cluster that has just begun to start is closed again, its workers ended."""
    code = f'import distributed\nsay("ready")\n{WITH_CLUSTER}time.sleep(100)'
    with Program(code, tmp_path) as program:
        program.await_line("ready")
        time.sleep(delay)
        program.interrupt(group=True)
        program.await_end(_HANGS_S)
        assert program.process.returncode == -signal.SIGINT
        assert program.errors.count(_TRACEBACK) == 1, program.errors
        program.check_nothing_left()


def test_interrupt_during_start_by_a_verb(tmp_path):
    """Also where the verb starts the cluster, in the background."""
    code = 'say("ready")\ndk.map(busy, range(20_000), where="cluster")'
    with Program(code, tmp_path) as program:
        program.await_line("ready")
        time.sleep(1.2)
        program.interrupt(group=True)
        program.await_end(_HANGS_S)
        assert program.errors.count(_TRACEBACK) == 1, program.errors
        program.check_nothing_left()


@pytest.mark.parametrize("delay", [0.012, 0.018])
def test_interrupt_while_lanes_are_asked_for(tmp_path, delay):
    """What the scheduler has just been sent is no error when the program ends."""
    code = f"""
from daskkit.run.session import session
def press():
    while session.client is None:
        time.sleep(0.0005)
    time.sleep({delay})
    while True:  # once more if a callback of the garbage collector has dropped it
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(20)
threading.Thread(target=press, daemon=True).start()
try:
    while True:
        dk.map(busy, range(20_000), where="cluster")
except KeyboardInterrupt:
    say("interrupted")
"""
    with Program(code, tmp_path) as program:
        assert program.await_end(_HANGS_S) == "interrupted", program.errors
        assert read_errors(program) == ""
        program.check_nothing_left()


@pytest.mark.parametrize("where", ["threads", "cluster"])
def test_interrupt_while_a_thread_starts(tmp_path, where):
    """`Thread.start` waits for the thread: it may be there, and not be said to be."""
    code = f"""
wait, pressed = threading.Event.wait, []
def wait_interrupted(event, timeout=None):
    is_main = threading.get_ident() == threading.main_thread().ident
    if is_main and sys._getframe(1).f_code.co_name == "start" and len(pressed) < 3:
        pressed.append(sys._getframe(2).f_code.co_name)
        signal.raise_signal(signal.SIGINT)
    return wait(event, timeout)
threading.Event.wait = wait_interrupted
for _ in range(5):
    try:
        done = dk.map(busy, range(300), where={where!r})
    except KeyboardInterrupt:
        continue
say(len(pressed), done == list(range(300)))
"""
    with Program(code, tmp_path) as program:
        assert program.await_end(_HANGS_S) == "3 True", program.errors
        assert program.errors == ""
        program.check_nothing_left()


def test_interrupt_during_close(tmp_path):
    """The close goes on to its end, then Ctrl-C has its turn."""
    code = f"""
{WITH_CLUSTER}dk.map(busy, range(300), where="cluster")
    say("ready")
"""
    with Program(code, tmp_path) as program:
        program.await_line("ready")
        time.sleep(0.02)
        program.interrupt(group=True)
        program.await_end(_HANGS_S)
        assert program.errors.count(_TRACEBACK) <= 1, program.errors
        program.check_nothing_left()


@pytest.mark.parametrize("where", ["threads", "cluster"])
def test_interrupt_of_an_item_that_hangs(tmp_path, where):
    """Neither a thread nor a worker that never ends its item holds the caller up."""
    code = f"""
def hang(x):
    if x == 7:
        time.sleep(1000)
    return busy(x)
say("ready")
try:
    dk.map(hang, range(2_000), where={where!r})
except KeyboardInterrupt:
    say("interrupted")
"""
    with Program(code, tmp_path) as program:
        program.await_line("ready")
        time.sleep(1.0 if where == "threads" else 3.5)
        program.interrupt(group=True)
        assert program.await_end(_HANGS_S) == "interrupted"
        assert program.errors == ""
        program.check_nothing_left()


IN_FLIGHT = f"""
import numpy as np
{WITH_CLUSTER}client.submit(abs, 1).result()
    results = dk.imap(lambda x: np.full(25_000_000, x, float), range(50), where="cluster")
    next(results)
    say("ready")
    for _ in results:
        pass
"""


@pytest.mark.parametrize(
    ("number", "group"), [(signal.SIGTERM, False), (signal.SIGKILL, True)]
)
def test_killed_caller_leaves_nothing(tmp_path, number, group):
    """No process, file or shared memory, with 200 MB on their way."""
    with Program(IN_FLIGHT, tmp_path) as program:
        program.await_line("ready")
        program.send(number, group=group)
        program.await_end(_HANGS_S)
        assert program.process.returncode == -number
        program.check_nothing_left()


# Programs that end in some way, what they print, and their exit code.
ENDINGS = {
    "without closing": (
        'say(sum(dk.map(busy, range(300), where="cluster")))',
        "44850",
        0,
    ),
    "without leaving a context": (
        (
            "context = dk.cluster(n_workers=2)\nclient = context.__enter__()\n"
            'say(sum(dk.map(busy, range(300), where="cluster")))'
        ),
        "44850",
        0,
    ),
    "with a context that is dropped": (
        (
            "context = dk.cluster(n_workers=2)\nclient = context.__enter__()\n"
            "del context, client\nsay(sum(dk.map(busy, range(300))))"
        ),
        "44850",
        0,
    ),
    "amid a stream of children": (
        (
            "stream = dk.imap(busy, range(30_000))\n"
            "say(sum(next(stream) for _ in range(500)))"
        ),
        "124750",
        0,
    ),
    "amid tasks": (
        (
            f"{WITH_CLUSTER}futures = client.map(time.sleep, [100] * 4)\n"
            "    time.sleep(0.5)\n    say('leaving')"
        ),
        "leaving",
        0,
    ),
    "while lanes are asked for": (
        (
            "import asyncio, distributed.scheduler as module\n"
            "offload = module.offload\n"
            "async def late(*args, **kwargs):\n    await asyncio.sleep(0.1)\n"
            "    return await offload(*args, **kwargs)\n"
            'module.offload = late\nstream = dk.imap(busy, range(3_000), where="cluster")'
            "\nsay(next(stream))"
        ),
        "0",
        0,
    ),
    "by sys.exit": (
        (
            'stream = dk.imap(busy, range(3_000), where="cluster")\nnext(stream)\n'
            "sys.exit(3)"
        ),
        "",
        3,
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_program_ends_quietly(tmp_path, ending):
    """However it ends, it says nothing of clusters and leaves nothing."""
    code, says, status = ENDINGS[ending]
    with Program(code, tmp_path) as program:
        out = program.await_end(_HANGS_S)
        assert (out, program.errors) == (says, "")
        assert program.process.returncode == status
        program.check_nothing_left()


OUTLIVING = """
def work():
    threading.main_thread().join()
    for where in "auto", "cluster":
        try:
            say(sum(dk.map(busy, range(3_000), where=where)))
        except dk.ClusterError as error:
            say(error)
threading.Thread(target=work).start()
"""


@pytest.mark.parametrize(
    ("before", "says"),
    [
        ("", "no cluster can be started any more: the main thread of the program has"),
        (
            "context = dk.cluster(n_workers=2)\nclient = context.__enter__()",
            "no cluster can be started any more: the main thread of the program has",
        ),
        ('dk.map(busy, range(300), where="cluster")', "4498500"),
    ],
)
def test_thread_that_outlives_the_main_thread(tmp_path, before, says):
    """It goes on in parallel; a cluster of the process takes no new tasks by then."""
    with Program(before + OUTLIVING, tmp_path) as program:
        out = program.await_end(_HANGS_S).splitlines()
        assert program.errors == ""
        assert out[0] == "4498500"
        assert out[1].startswith(says)
        program.check_nothing_left()


def test_use_after_close(tmp_path):
    """Whatever belongs to a cluster that is closed says so; verbs start another."""
    code = f"""
{WITH_CLUSTER}stream = dk.imap(busy, range(10_000), where="cluster")
    next(stream)
try:
    with dk.cluster(client):
        say("entered")
except dk.ClusterError as error:
    say(error)
try:
    list(stream)
except dk.ClusterError as error:
    say(error)
say(sum(dk.map(busy, range(300), where="cluster")))
"""
    with Program(code, tmp_path) as program:
        out = program.await_end(_HANGS_S).splitlines()
        assert out[0].startswith("the client is closed")
        assert out[1].startswith("the connection to the cluster is closed; open it")
        assert out[2:] == ["44850"]
        assert program.errors == ""
        program.check_nothing_left()
