"""The first call of a program: short ones import little, long ones are shared."""

from __future__ import annotations

import subprocess
import sys

import pytest

from daskkit.run.call import Call
from daskkit.run.job import Job
from daskkit.run.sentry import Sentry

pytestmark = pytest.mark.timeout(60)

HEAD = "import os, sys, time; import daskkit as dk\n"


def _run(code: str, *, expects_error: bool = False) -> str:
    """Return what a fresh process prints, or its traceback."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code],
        capture_output=True,
        text=True,
        check=not expects_error,
        timeout=50,
    )
    return done.stderr if expects_error else done.stdout.strip()


@pytest.mark.parametrize(
    ("item", "items"),
    [
        ("time.sleep(0.02)", "range(40)"),  # each releases the GIL
        ("sum(range(400_000))", "range(100)"),  # each holds it
        ("x and sum(range(4_000_000))", "[0] * 300_000 + [1] * 40"),  # heavy ones last
    ],
)
def test_long_first_call_is_shared(item, items):
    """Others are brought in, as in any later call; threads where items wait."""
    out = _run(
        "import threading\n"
        f"def f(x):\n    {item}\n    return os.getpid(), threading.get_ident()\n"
        f"who = dk.map(f, {items})\n"
        "print(len(set(who)) > 1, 'daskkit.run.feeder' in sys.modules)"
    )
    assert out == "True True"


def test_one_giant_brings_in_nobody():
    """What is left is over before others could begin."""
    for _ in range(10):
        out = _run(
            "def nap(cost):\n"
            "    began = time.perf_counter()\n"
            "    time.sleep(cost)\n"
            "    return time.perf_counter() - began - cost\n"
            "late = dk.map(nap, [0.0005] * 20 + [0.5] + [0.0005] * 20)\n"
            "print('daskkit.run.feeder' in sys.modules, max(late) < 0.003)"
        )
        is_here, was_undisturbed = out.split()
        if was_undisturbed == "True":  # else the others have been dear ones, too
            break
    assert is_here == "False"


def test_several_giants_are_shared():
    """What is left of them is worth it."""
    out = _run(
        "dk.map(time.sleep, [0.0005] * 20 + [0.5] * 4 + [0.0005] * 20)\n"
        "print('daskkit.run.feeder' in sys.modules)"
    )
    assert out == "True"


def test_a_stream_is_shared_too():
    """Also where nobody knows how many items there are."""
    out = _run(
        "import threading\n"
        "f = lambda x: time.sleep(0.02) or (os.getpid(), threading.get_ident())\n"
        "print(len(set(dk.imap(f, (x for x in range(100))))) > 1,"
        "'daskkit.run.feeder' in sys.modules)"
    )
    assert out == "True True"


def test_items_of_numpy_let_the_import_have_the_gil():
    """They release it all the time, for a moment each."""
    out = _run(
        "import numpy as np\n"
        "a = np.arange(100_000.0)\n"
        "f = lambda i: [float(np.sort(a[::-1] * i)[7]) for _ in range(3)] "
        "and os.getpid()\n"
        "dk.map(f, range(150))\n"
        "print('daskkit.run.feeder' in sys.modules)"
    )
    assert out == "True"


def test_long_item_is_watched_before_it_ends():
    """The feeder is there amid the first item, not only after it."""
    out = _run(
        "def f(x):\n"
        "    time.sleep(1 if x == 0 else 0)\n"
        "    return 'daskkit.run.feeder' in sys.modules\n"
        "print(dk.map(f, range(4))[0])"
    )
    assert out == "True"


@pytest.mark.parametrize("n_items", [20, 2_000])
def test_an_error_names_its_item(n_items):
    """Whether it comes before the feeder does or after it."""
    out = _run(
        f"f = lambda x: sum(range(20_000)) / (x - 11)\ndk.map(f, range({n_items}))",
        expects_error=True,
    )
    assert "ZeroDivisionError" in out
    assert "raised by item 11 (value 11) in this process; 11 of" in out


def test_nothing_is_left_of_a_short_first_call():
    """The thread that watched ends with the call."""
    out = _run(
        "dk.map(abs, range(1000))\n"
        "deadline = time.monotonic() + 20\n"
        "count = lambda: len(os.listdir('/proc/self/task'))\n"
        "while count() > 1 and time.monotonic() < deadline: time.sleep(0.01)\n"
        "print(count())"
    )
    assert out == "1"


def test_interrupt_ends_the_first_call():
    """Ctrl-C amid an item before the feeder has come, and amid one after it."""
    out = _run(
        "import signal, threading\n"
        "for after_s in (0.01, 0.3):\n"
        "    timer = threading.Timer(after_s, signal.raise_signal, [signal.SIGINT])\n"
        "    try: timer.start(); dk.map(time.sleep, [0.05] * 1_000, where='auto')\n"
        "    except KeyboardInterrupt: print('interrupted')\n"
    )
    assert out == "interrupted\ninterrupted"


def test_import_disturbs_items_for_a_while():
    """What they take meanwhile is not believed, and what they take later is."""
    out = _run(
        "from daskkit.run.sentry import Sentry\n"
        "seen, start = [], Sentry.start\n"
        "def keep(self):\n    seen.append(self._call.pilot)\n    start(self)\n"
        "Sentry.start = keep\n"
        "dk.map(lambda x: sum(range(400_000)), range(100))\n"
        "print(0 < seen[0].disturbed_until_s < time.perf_counter())"
    )
    assert out == "True"


# A function of arrays in parts, as the verbs of frames hand over.
IN_PARTS = (
    "from daskkit.run.work import Work, run_items\n"
    "def each(items, results):\n"
    "    for item in items: results.append(f(item))\n"
    "def f(item):\n"
    "    stops_s = time.perf_counter() + item\n"
    "    while time.perf_counter() < stops_s: pass\n"
    "    return os.getpid()\n"
    "def run(items):\n"
    "    return run_items(Work('f', f, items, each=each))\n"
    "run([0.0001] * 10)\n"
)


def test_later_short_call_starts_no_thread():
    """A look of its own costs the calling thread less than another thread's does."""
    out = _run(
        "import _thread\n"
        "n_started, start = 0, _thread.start_new_thread\n"
        "def count(*args):\n    global n_started\n    n_started += 1\n"
        "    return start(*args)\n"
        "_thread.start_new_thread = count\n" + IN_PARTS + "counts = [n_started]\n"
        "for _ in range(20):\n"  # some of them undisturbed
        "    n_started = 0\n    run([0.0001] * 60)\n    counts.append(n_started)\n"
        "print(counts[0] > 0, min(counts))"
    )
    assert out == "True 0"


def test_calling_thread_brings_them_in_itself():
    """Two threads that want the GIL take twice as long over it, and so do the items."""
    out = _run(
        "import gc, threading\n"
        "from daskkit.run import sentry\n"
        "from daskkit.run.sentry import Sentry\n"
        "sentry._STARVED_S = 5  # it has a core by then, and has come to an end\n"
        "seen, bring = [], Sentry._bring_in\n"
        "def look(self):\n"
        "    seen.append(threading.current_thread() is threading.main_thread())\n"
        "    bring(self)\n"
        "Sentry._bring_in = look\n"
        "who = dk.map(lambda x: sum(range(40_000)) and os.getpid(), range(1_000))\n"
        "print(seen, len(set(who)) > 1, gc.isenabled())"
    )
    assert out == "[True] True True"


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([0.3], True),
        ([0.15, 0.15], True),
        ([0.15, 0.05, 0.15, 0.05], False),  # the first items were unlike the others
        ([0.05] * 9, False),
    ],
)
def test_little_that_is_left_has_to_be_seen_twice(looks, expected):
    """What is left for long is shared at the first look."""
    sentry = Sentry(Call(Job(abs, "abs"), range(10), where="auto"))
    assert any(map(sentry._is_worth_it, looks)) is expected


@pytest.mark.parametrize(
    "items", ["[0.0001] * 10_000", "[0.0001] * 1_200 + [0.02] * 200"]
)
def test_later_long_call_is_shared(items):
    """Also where the calling thread watched itself at first, or dear ones follow."""
    out = _run(
        IN_PARTS + f"who = run({items})\n"
        "print(len(set(who)) > 1, 'daskkit.run.feeder' in sys.modules)"
    )
    assert out == "True True"
