"""`dk.compare`: checked before it counts, a failing row harms no other, nothing stays."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time

import psutil
import pytest

import daskkit as dk
from daskkit.backends.registry import GROUPS
from daskkit.comparison import compare as compare_module
from daskkit.comparison import match as match_module
from daskkit.comparison.contestant import Contestant, ContestantError
from daskkit.comparison.warden import Warden
from daskkit.errors import DaskkitError

COLUMNS = [
    "backend",
    "workers",
    "setting",
    "status",
    "cold_s",
    "median_s",
    "low_s",
    "high_s",
    "speedup",
    "speedup_low",
    "speedup_high",
    "efficiency",
    "cpu_s",
    "peak_memory_bytes",
    "error",
]


# One process makes the comparison that they look at.
_shares_a_comparison = pytest.mark.xdist_group("comparison")


def _square(x):
    return x * x


def _compare(workload, *backends, repeats=1, **options):
    return dk.compare(workload, backends=backends, repeats=repeats, **options)


def _rows(comparison):
    return {row.backend: row for row in comparison.summaries}


@pytest.fixture(scope="module")
def comparison(_private_temporary_folder):
    """Compare all built-in back ends once."""
    workload = dk.Workload(
        "squares",
        lambda x: x * x,
        range(300),
        combine=sum,
        vectorized=lambda xs: sum(x * x for x in xs),
    )
    return dk.compare(workload, n_workers=2, repeats=5)


@pytest.fixture(scope="module")
def failing(_private_temporary_folder):
    """Compare a back end that fails with one that does not."""
    return _compare(dk.Workload("w", _fails_in_threads, [1, 2]), "threads", "futures")


@_shares_a_comparison
@pytest.mark.timeout(240)
def test_every_built_in_back_end_is_ok(comparison):
    """All rows have a checked result, times, CPU seconds and memory."""
    table = comparison.table()
    assert list(table.columns) == COLUMNS
    assert list(table["backend"]) == [
        "serial",
        "numpy",
        "threads",
        "multiprocessing",
        "futures",
        "dask-bag@1",
        "dask-bag",
        "dask-delayed@1",
        "dask-delayed",
        "daskkit",
    ]
    assert list(table["workers"]) == [1, 1, 2, 2, 2, 1, 2, 1, 2, 2]
    assert set(table["status"]) == {"ok"}
    numbers = table.drop(
        columns=["backend", "setting", "status", "error", "cpu_s"]
    ).astype(float)
    assert (numbers > 0).all(axis=None)
    assert (table["cpu_s"] >= 0).all()
    assert (table["low_s"] <= table["median_s"]).all()
    assert (table["median_s"] <= table["high_s"]).all()


@_shares_a_comparison
def test_every_round_has_a_repeat_of_each(comparison):
    """Rounds are interleaved: each back end has one repeat in each of them."""
    for run in comparison.runs:
        assert [repeat.round for repeat in run.repeats] == [0, 1, 2, 3, 4]


@_shares_a_comparison
def test_it_shows_itself(comparison):
    """The text has the table and the verdict, the HTML is static."""
    text = repr(comparison)
    assert text.startswith("squares\nbackend")
    assert comparison.verdict() in text
    html = comparison._repr_html_()
    assert "<table" in html
    assert "<script" not in html


@_shares_a_comparison
@pytest.mark.parametrize("status", ["ok", "failed"])
def test_a_saved_comparison_is_the_same_again(comparison, failing, tmp_path, status):
    """JSON holds everything: the loaded one is equal and shows itself alike."""
    saved = {"ok": comparison, "failed": failing}[status]
    path = saved.save(tmp_path / "x.json")
    loaded = dk.load(path)
    assert loaded == saved
    assert repr(loaded) == repr(saved)
    assert "NaN" not in path.read_text()


@_shares_a_comparison
def test_report_names_every_row(comparison, tmp_path):
    """The page holds the verdict and all back ends."""
    page = comparison.save(tmp_path / "x.html").read_text()
    assert all(run.backend in page for run in comparison.runs)
    assert "The plain loop takes" in page


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no json", "it is not JSON"),
        ("[]", "is not a saved comparison"),
        (
            '{"kind": "daskkit comparison", "format": 99}',
            "has format 99.*reads format 1",
        ),
        ('{"kind": "daskkit comparison", "format": 1}', "is damaged: KeyError"),
    ],
)
def test_load_refuses_what_it_did_not_write(tmp_path, content, words):
    """Other files are refused with the reason."""
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(DaskkitError, match=words):
        dk.load(path)


def test_load_of_a_missing_file(tmp_path):
    """A file that isn't there is named."""
    with pytest.raises(DaskkitError, match=r"none\.json can't be read: No such file"):
        dk.load(tmp_path / "none.json")


@_shares_a_comparison
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "is a directory"),
        ("x.pdf", r"must end in \.html or \.json"),
        ("a/x.html", "no directory"),
    ],
)
def test_save_refuses_unusable_paths(comparison, tmp_path, name, words):
    """Directories, other endings and missing folders are refused."""
    with pytest.raises(DaskkitError, match=words):
        comparison.save(tmp_path / name)


def test_loop_is_always_the_first_row():
    """Whatever is asked for, in whatever order, the plain loop comes first."""
    workload = dk.Workload("w", _square, range(3))
    assert list(_rows(_compare(workload, "threads"))) == ["serial", "threads"]
    assert list(_rows(_compare(workload, "threads", "serial"))) == ["serial", "threads"]


def test_labels_of_ones_own():
    """A mapping names rows; one back end can be entered twice."""
    comparison = dk.compare(
        dk.Workload("w", _square, range(3)),
        backends={"one": "serial", "other": "serial", "pool": "threads@3"},
        repeats=1,
    )
    assert [(r.backend, r.spec, r.workers) for r in comparison.runs] == [
        ("one", "serial", 1),
        ("other", "serial", 1),
        ("pool", "threads@3", 3),
    ]


def test_single_worker_leaves_out_the_doubles():
    """With one worker the rows on "a single worker" are the rows on "many"."""
    for backends in (None, "all", ["dask"]):
        specs = compare_module._choose_backends(backends, 1)
        assert "dask-bag" in specs
        assert "dask-bag@1" not in specs
    assert list(compare_module._choose_backends("dask-bag@1", 1)) == [
        "serial",
        "dask-bag@1",
    ]


def test_tuning_reports_the_best_chunk_size():
    """Who has a chunk size is tuned, unless it was given; spec and setting say so."""
    workload = dk.Workload("w", _square, range(100))
    comparison = _compare(
        workload, "threads", "futures", "futures:chunksize=9", n_workers=2, tune=True
    )
    runs = {run.backend: run for run in comparison.runs}
    assert {run.status for run in runs.values()} == {"ok"}
    assert runs["threads"].setting == ""
    given = runs["futures:chunksize=9"]
    assert (given.setting, given.spec) == ("chunksize=9", given.backend)
    tuned = runs["futures"]
    size = re.fullmatch(r"chunksize=(\d+), tuned", tuned.setting).group(1)
    assert int(size) in {1, 4, 13, 16, 50}
    assert tuned.spec in {"futures", f"futures:chunksize={size}"}
    assert len(tuned.repeats) == 1
    assert size in repr(comparison)


def test_tuning_is_asked_for_by_a_truth_value():
    """Anything else is refused before a process starts."""
    with pytest.raises(dk.BackendError, match="tune must be True or False, received 3"):
        _compare(dk.Workload("w", _square, [1]), "threads", tune=3)


def test_groups_are_many_rows():
    """A group stands for its rows; those that can't run say what to add."""
    workload = dk.Workload("w", _square, range(5))
    comparison = _compare(workload, "threading", n_workers=2)
    rows = _rows(comparison)
    assert list(rows) == list(GROUPS["threading"])
    lacking = {name for name, row in rows.items() if row.status == "unavailable"}
    assert {"numpy-threads", "numba"} <= lacking
    assert rows["dask-threads"].setting == "npartitions=5"
    # The versions of the libraries that took part are among the facts.
    assert ("joblib" in comparison.host.versions) == ("joblib-threads" not in lacking)


def test_a_group_needs_no_label():
    """In a mapping a label names one row, so it can't stand for many."""
    with pytest.raises(dk.BackendError, match="'all' is a group of back ends"):
        dk.compare(dk.Workload("w", _square, [1]), backends={"x": "all"})


def test_wrong_vectorised_form_is_a_row():
    """Its time doesn't count, the difference is shown, the other rows are there."""
    workload = dk.Workload("w", _square, range(5), vectorized=lambda xs: [0] * len(xs))
    rows = _rows(_compare(workload, "numpy", "threads"))
    assert rows["numpy"].status == "wrong"
    assert rows["numpy"].error == "result[1] is 0, the plain loop's is 1"
    assert math.isnan(rows["numpy"].median_s)
    assert rows["threads"].status == "ok"


def _fails_in_threads(x):
    if threading.current_thread() is not threading.main_thread():
        msg = "only in the main thread"
        raise RuntimeError(msg)
    return x


@_shares_a_comparison
def test_failing_back_end_is_a_row(failing):
    """Its error stands in its row with the item; the others still count."""
    rows = _rows(failing)
    assert rows["threads"].status == "failed"
    assert rows["threads"].error == "RuntimeError: only in the main thread"
    assert rows["futures"].status == "ok"


def test_unavailable_back_end_is_a_row():
    """A back end that can't run says why and what to do."""
    rows = _rows(_compare(dk.Workload("w", _square, [1]), "numpy"))
    assert (rows["numpy"].status, rows["numpy"].workers) == ("unavailable", 1)
    assert "pass vectorized=" in rows["numpy"].error


def _dies_in_threads(x):
    if threading.current_thread() is not threading.main_thread():
        os._exit(3)
    return x


def test_dying_contestant_is_a_row():
    """A back end whose process dies is reported; the comparison goes on."""
    rows = _rows(
        _compare(dk.Workload("w", _dies_in_threads, [1]), "threads", "futures")
    )
    assert rows["threads"].status == "failed"
    assert rows["threads"].error == "its process exited with code 3"
    assert rows["futures"].status == "ok"


def _hangs_in_threads(x):
    if threading.current_thread() is not threading.main_thread():
        time.sleep(600)
    return x


def test_hanging_contestant_is_ended(monkeypatch):
    """A back end that never answers is ended after a limit, and its row says so."""
    monkeypatch.setattr(match_module, "_LIMIT_S", 3.0)
    monkeypatch.setattr("daskkit.comparison.contestant._STOP_S", 0.5)
    rows = _rows(
        _compare(dk.Workload("w", _hangs_in_threads, [1]), "threads", "futures")
    )
    assert "gave no answer to 'run' within 3 s and was ended" in rows["threads"].error
    assert rows["futures"].status == "ok"


def _reciprocal(x):
    return 1 / x


def _raise(results):
    msg = "cannot combine"
    raise ValueError(msg)


def _random(x):
    return os.urandom(4)


@pytest.mark.parametrize(
    ("workload", "words"),
    [
        (
            dk.Workload("w", _reciprocal, [1, 0]),
            r"plain loop of workload 'w' failed: ZeroDivisionError: .*raised by item 1",
        ),
        (
            dk.Workload("w", _square, [1], combine=_raise),
            "plain loop of workload 'w' failed: ValueError: cannot combine",
        ),
        (
            dk.Workload("w", _random, [1]),
            "gives another result when it is run again.*seed its random numbers",
        ),
        (
            dk.Workload("w", _square, [threading.Lock()]),
            r"can't be sent to another process: item 0 .*can't be pickled",
        ),
        (
            dk.Workload("w", threading.Lock().locked, [1]),
            "its func can't be pickled",
        ),
    ],
)
def test_loop_that_fails_ends_the_comparison(workload, words):
    """Without an oracle nothing can be checked: one error that says what and where."""
    with pytest.raises(dk.WorkloadError, match=re.compile(words, re.DOTALL)):
        _compare(workload, "threads", repeats=2)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"backends": "rey"}, dk.BackendError, "unknown back end 'rey'.*mean 'ray'"),
        ({"backends": 3}, dk.BackendError, "backends must be a name, a list of names"),
        (
            {"backends": {"serial": "threads"}},
            dk.BackendError,
            "needed for the plain loop",
        ),
        (
            {"n_workers": 0},
            dk.BackendError,
            "n_workers must be .* at least 1, received 0",
        ),
        ({"repeats": 0}, dk.BackendError, "repeats must be .* at least 1, received 0"),
        ({"repeats": 2.5}, dk.BackendError, "received 2.5"),
    ],
)
def test_wrong_arguments_start_nothing(options, error, words):
    """Each argument is checked before any process starts."""
    with pytest.raises(error, match=words):
        dk.compare(dk.Workload("w", _square, [1]), **options)


def test_workload_has_to_be_one():
    """A function in its place is a common slip; the message says what to make."""
    with pytest.raises(
        dk.WorkloadError, match=r"must be a daskkit\.Workload, received"
    ):
        dk.compare(_square)


def test_a_check_may_return_false():
    """A check that returns False instead of raising means "wrong" as well."""
    workload = dk.Workload(
        "w",
        lambda x: os.getpid(),
        [1],
        check=lambda result, expected: result == expected,
    )
    assert _rows(_compare(workload, "futures"))["futures"].status == "wrong"


def test_everyone_gets_one_blas_thread():
    """Each contestant, and its workers, see the same limits."""
    workload = dk.Workload("w", lambda x: os.environ["OMP_NUM_THREADS"], range(4))
    comparison = _compare(workload, "futures", "dask-bag")
    assert {row.status for row in comparison.summaries} == {"ok"}


def test_frozen_contestants_stand_still():
    """A frozen process tree is stopped, a thawed one answers."""
    with Warden() as warden:
        contestant = Contestant(warden)
        try:
            contestant.ask("load", sys.path, b"N.")
            process = psutil.Process(contestant._process.pid)
            contestant.freeze()
            _wait_until(lambda: process.status() == psutil.STATUS_STOPPED)
            contestant.thaw()
            _wait_until(lambda: process.status() != psutil.STATUS_STOPPED)
            with pytest.raises(ContestantError, match="AssertionError"):
                contestant.ask("run")
        finally:
            contestant.close()
        contestant.close()
    assert not process.is_running()


def _wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


SCRIPT = textwrap.dedent(
    """
    import daskkit as dk, time
    def slow(x):
        time.sleep(0.05)
        return x
    print("ready", flush=True)
    work = dk.Workload("slow", slow, range(20))
    dk.compare(work, backends=["multiprocessing", "dask-bag"], n_workers=2)
    """
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "after_s"),
    [
        # Amid the loop, while others start, and amid rounds.
        (signal.SIGKILL, 1.0),
        (signal.SIGKILL, 3.0),
        (signal.SIGKILL, 6.0),
        (signal.SIGTERM, 3.0),
        (signal.SIGINT, 1.0),
        (signal.SIGINT, 6.0),
    ],
)
def test_killed_caller_leaves_nothing(how, after_s, tmp_path):
    """However the caller goes, all of its contestants, frozen ones too, go with it."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    caller = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    caller.stdout.readline()
    time.sleep(after_s)
    caller.send_signal(how)
    _, errors = caller.communicate(timeout=60)
    expected = {-how, 1} if how == signal.SIGINT else {-how}
    assert caller.returncode in expected, errors.decode()


@pytest.mark.parametrize("how", ["-c", "stdin"])
def test_works_without_a_script(how):
    """It works from python -c and standard input, with functions defined there."""
    code = textwrap.dedent(
        """
        import daskkit as dk
        def double(x):
            return 2 * x
        work = dk.Workload("double", double, range(9))
        c = dk.compare(work, backends=["multiprocessing", "daskkit"], repeats=1)
        print(list(c.table()["status"]))
        """
    )
    done = subprocess.run(
        [sys.executable, *(["-c", code] if how == "-c" else ["-"])],
        input=None if how == "-c" else code,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert (done.stdout, done.stderr) == ("['ok', 'ok', 'ok']\n", "")


@_shares_a_comparison
def test_json_is_plain(comparison, tmp_path):
    """The file is ordinary JSON with the kind and format on top."""
    document = json.loads(comparison.save(tmp_path / "x.json").read_text())
    assert (document["kind"], document["format"]) == ("daskkit comparison", 1)
