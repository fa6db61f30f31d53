"""The commands ``daskkit ...`` and ``dask kit ...``: arguments to calls.

The top layer, and the only module that prints. Modules that take long to import are
imported where they are needed, so that ``--help`` is there at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import textwrap
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar

import click

from daskkit import __version__
from daskkit.backends import registry as backend_registry
from daskkit.cli_options import (
    check_backends,
    check_free,
    check_name,
    check_report,
    complete_backend,
    json_option,
    json_targets,
    repeats_option,
    report_option,
    samples_argument,
    size_option,
)
from daskkit.errors import DaskkitError
from daskkit.samples import registry as sample_registry
from daskkit.units import format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from daskkit.backends.base import Backend
    from daskkit.comparison.result import Comparison
    from daskkit.comparison.scaled import Scaling
    from daskkit.doctor import Finding
    from daskkit.records import Workload

__all__ = ["main"]

_T = TypeVar("_T", "Comparison", "Scaling")

# Rows whose figures don't count; one that can't run here is no failure.
_BAD = ("failed", "wrong")
_COLOURS = {"ok": "green", "note": "yellow", "problem": "red"}
# Characters of a line in a list, after its first column.
_WIDTH = 76
# 128 + SIGINT, as shells report it.
_INTERRUPTED = 130


class _Interrupted(click.ClickException):
    """Ctrl-C: all that was started has been ended."""

    exit_code: ClassVar[int] = _INTERRUPTED

    def show(self, file: Any = None) -> None:
        if sys.stderr.isatty():
            click.echo(err=True)  # the terminal has shown ^C
        click.echo(self.message, file=file, err=True)


class _Kit(click.Group):
    """A group whose errors are one line, also below ``dask``."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _errors_in_one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _errors_in_one_line():
            return super().invoke(ctx)


@click.group(
    "kit",  # as in `dask kit`
    cls=_Kit,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="daskkit")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Compare ways to run a slow NumPy or pandas loop in parallel.

    The same commands are there as `daskkit ...`, `dask kit ...` and
    `python -m daskkit ...`.

    \b
    Examples:
      daskkit doctor                       what would slow this machine down
      daskkit list                         samples and back ends
      daskkit compare pi --backend futures
      daskkit compare flights fractal --size full --report report.html
      daskkit scaling pi                   how far it would go with more workers

    \b
    Exit codes:
      0    all is well
      1    a back end failed or gave a wrong result, or there is a problem
      2    wrong arguments; nothing was started
      130  interrupted by Ctrl-C; nothing is left running
    """  # noqa: D301 - \b is click's sign for "keep these lines", not an escape
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@main.command(short_help="Run samples on several back ends, side by side.")
@samples_argument
@click.option(
    "--backend",
    "backends",
    metavar="NAME[@N][:OPTION=VALUE,...]",
    multiple=True,
    callback=check_backends,
    shell_complete=complete_backend,
    help="A back end, on N workers of its own, or a group such as all; may be "
    "repeated.  [default: builtin]",
)
@click.option(
    "--n-workers",
    metavar="N",
    type=click.IntRange(min=1),
    help="Workers of each back end.  [default: one a usable core]",
)
@repeats_option("Timed repeats; fewer than 5 can't show what is faster.")
@size_option
@click.option(
    "--tune",
    is_flag=True,
    help="Also search the best chunk size of each back end that has one.",
)
@click.option(
    "--ledger",
    is_flag=True,
    help="Also say where the core-seconds of each back end went.",
)
@report_option
@json_option("daskkit.load()")
def compare(
    *,
    samples: list[str],
    backends: list[str] | None,
    n_workers: int | None,
    repeats: int,
    size: str,
    tune: bool,
    ledger: bool,
    report: Path | None,
    measurements: Path | None,
) -> None:
    """Run samples on several back ends, side by side, and say what paid.

    Without a SAMPLE, flights. Several samples are compared one after the other.
    `daskkit list` shows all samples and back ends.

    \b
    Examples:
      daskkit compare
      daskkit compare pi --backend threads --backend dask-bag@1
      daskkit compare words --backend multiprocessing:start_method=spawn
      daskkit compare fractal --backend all --tune
      daskkit compare flights landmask --size full --report report.html
    """  # noqa: D301 - \b is click's sign for "keep these lines", not an escape
    from daskkit.comparison.compare import compare as run_comparison

    def measure(workload: Workload) -> tuple[Comparison, list[str]]:
        comparison = run_comparison(
            workload,
            backends=backends,
            n_workers=n_workers,
            repeats=repeats,
            tune=tune,
            ledger=ledger,
        )
        return comparison, [comparison.explain()] if ledger else []

    targets = json_targets(measurements, samples)
    comparisons = _measure_all(samples, size, measure, targets, report)
    _fail_if_bad(comparisons)


@main.command("list", short_help="Show the samples and the back ends.")
def list_() -> None:
    """Show the samples and the back ends, and which can run here.

    \b
    Example:
      daskkit list
    """  # noqa: D301 - \b is click's sign for "keep these lines", not an escape
    names = sample_registry.names()
    width = max(map(len, (*names, *backend_registry.names())))
    click.echo("Samples, for `daskkit compare SAMPLE --size small|full`:")
    for name in names:
        click.echo(f"  {name:{width}}  {sample_registry.describe(name)}")
    click.echo()
    click.echo("Back ends, for `--backend NAME[@N_WORKERS][:OPTION=VALUE,...]`:")
    for name in backend_registry.names():
        backend = backend_registry.load_backend(name)
        click.echo(f"  {name:{width}}  {backend.summary}")
        for option, values in backend.options.items():
            click.echo(f"  {'':{width}}  {option}={'|'.join(values)}")
        reason = _reason_not_to_run(backend)
        if reason is not None:
            text = _colour("can't run here", "note")
            click.echo(f"  {'':{width}}  {text}: {reason}")
    click.echo()
    click.echo("Groups of them, for `--backend GROUP[@N_WORKERS]`:")
    for name, members in backend_registry.GROUPS.items():
        lines = textwrap.wrap(
            ", ".join(members), _WIDTH - width, break_on_hyphens=False
        )
        for start, line in zip([name, *[""] * len(lines)], lines, strict=False):
            click.echo(f"  {start:{width}}  {line}")


@main.command(short_help="Run a sample on several numbers of workers.")
@samples_argument
@click.option(
    "--backend",
    metavar="NAME[:OPTION=VALUE,...]",
    default="daskkit",
    show_default=True,
    shell_complete=complete_backend,
    help="What has the workers.",
)
@click.option(
    "--n-workers",
    metavar="N",
    type=click.IntRange(min=1),
    multiple=True,
    help="A number of workers; may be repeated.  [default: 1, 2, 4 ... cores]",
)
@click.option(
    "--weak", is_flag=True, help="Also measure work that grows with the workers."
)
@click.option(
    "--what-if",
    "question",
    metavar="N",
    type=click.IntRange(min=1),
    help="Say what N workers would bring, or why that can't be said.",
)
@repeats_option("Timed repeats; fewer than 5 give no intervals.")
@size_option
@report_option
@json_option("daskkit.Scaling.load()")
def scaling(
    *,
    samples: list[str],
    backend: str,
    n_workers: tuple[int, ...],
    weak: bool,
    question: int | None,
    repeats: int,
    size: str,
    report: Path | None,
    measurements: Path | None,
) -> None:
    """Run a sample on several numbers of workers, and say how it scales.

    Without a SAMPLE, flights. Fits Amdahl's law and the Universal Scalability Law, and
    says up to how many workers they may be read.

    \b
    Examples:
      daskkit scaling
      daskkit scaling pi --n-workers 2 --backend multiprocessing
      daskkit scaling fractal --weak --report scaling.html
      daskkit scaling pi --what-if 4
    """  # noqa: D301 - \b is click's sign for "keep these lines", not an escape
    from daskkit.comparison.scaling import scaling as run_scaling

    def measure(workload: Workload) -> tuple[Scaling, list[str]]:
        result = run_scaling(
            workload,
            n_workers=n_workers or None,
            backend=backend,
            weak=weak,
            repeats=repeats,
            ledger=question is not None,
        )
        return result, [] if question is None else [result.answer(question)]

    targets = json_targets(measurements, samples)
    results = _measure_all(samples, size, measure, targets, report)
    _fail_if_bad([result.strong for result in results])


@main.command(short_help="Make one page of saved comparisons.")
@click.argument("files", metavar="FILE.json...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    "report",
    metavar="FILE.html",
    type=click.Path(readable=False),
    callback=check_report,
    required=True,
    help="The page; replaced if it exists.",
)
def report(*, files: tuple[str, ...], report: Path) -> None:
    """Make one page of saved comparisons, with all their runs in one figure.

    \b
    Example:
      daskkit report pi.json words.json -o report.html
    """  # noqa: D301 - \b is click's sign for "keep these lines", not an escape
    from daskkit.comparison.result import load
    from daskkit.report.page import save_page

    save_page(report, [load(file).section() for file in files])
    click.echo(f"Report: {report.resolve()}")


@main.command(short_help="Say where the core-seconds of a saved comparison went.")
@click.argument("file", metavar="FILE.json")
@click.option(
    "--backend",
    metavar="ROW",
    help="A row of the comparison.  [default: the fastest]",
)
def explain(*, file: str, backend: str | None) -> None:
    """Say where the core-seconds of a saved comparison went, and what to do about it.

    \b
    Example:
      daskkit explain pi.json
    """  # noqa: D301 - \b is click's sign for "keep these lines", not an escape
    from daskkit.comparison.result import load

    click.echo(load(file).explain(backend))


@main.command(short_help="Say what would slow this machine down.")
def doctor() -> None:
    """Say what would slow parallel work down on this machine, and what to do.

    Looks at cores, memory, BLAS threads, start method, versions, ports, disks and
    load. The exit code is 1 if there is a problem, 0 if there are only notes.

    \b
    Example:
      daskkit doctor
    """  # noqa: D301 - \b is click's sign for "keep these lines", not an escape
    from daskkit.doctor import examine

    findings = examine()
    _print_findings(findings)
    n_problems = Counter(finding.mark for finding in findings)["problem"]
    if n_problems:
        _fail(f"{format_count(n_problems, 'problem')} found")


@main.command(short_help="Start a cluster with a dashboard, until Ctrl-C.")
@click.option(
    "--n-workers",
    metavar="N",
    type=click.IntRange(min=1),
    help="Workers.  [default: one a usable core]",
)
@click.option(
    "--name",
    metavar="NAME",
    default="default",
    show_default=True,
    callback=check_name,
    help="What daskkit.cluster(NAME) finds it by, in any process of yours.",
)
@click.option(
    "--dashboard-port",
    metavar="PORT",
    type=click.IntRange(0, 65_535),
    default=0,
    help="Port of the dashboard on 127.0.0.1.  [default: any that is free]",
)
def cluster(*, n_workers: int | None, name: str, dashboard_port: int) -> None:
    """Start a local cluster with a dashboard, and keep it until Ctrl-C.

    Only this machine can reach it, and of its users only you: the file by which it is
    found holds a secret, and can be read by you alone.

    \b
    Examples:
      daskkit cluster
      daskkit cluster --n-workers 4 --name work
    """  # noqa: D301 - \b is click's sign for "keep these lines", not an escape
    from daskkit.run import named
    from daskkit.run.cluster import cluster as run_cluster

    try:
        with (
            _terminated_as_interrupted(),
            run_cluster(n_workers=n_workers, dashboard_port=dashboard_port) as client,
        ):
            address = client.scheduler_info(n_workers=0)["address"]
            page = f"{client.dashboard_link.removesuffix('/status')}/daskkit"
            secret = getattr(client.security, "secret", b"").hex()
            with named.publish(name, address, page, secret):
                click.echo(f"Scheduler: {address}")
                click.echo(f"Dashboard: {page}")
                click.echo(f"In Python: daskkit.cluster({name!r})")
                click.echo("Ctrl-C ends it.", err=True)
                threading.Event().wait()
    except KeyboardInterrupt:
        click.echo("The cluster has ended.", err=True)


@main.command(short_help="Open the page of a cluster in a browser.")
@click.argument("name", metavar="[NAME]", default="default")
@click.option(
    "--print-only", is_flag=True, help="Print the page's address, open no browser."
)
def dashboard(*, name: str, print_only: bool) -> None:
    """Open the page Daskkit of a cluster in a browser, and print its address.

    NAME is that of a cluster of `daskkit cluster`, or the address of any scheduler that
    runs; one that lacks the page gets it.

    \b
    Examples:
      daskkit dashboard
      daskkit dashboard tcp://127.0.0.1:8786 --print-only
    """  # noqa: D301 - \b is click's sign for "keep these lines", not an escape
    from daskkit.run import named

    if ":" in name:
        from daskkit.dashboard import install
        from daskkit.run.cluster import cluster as run_cluster

        with run_cluster(name) as client:
            page = install(client)
    else:
        page = named.find(name).dashboard
    click.echo(page)
    if not print_only:
        import webbrowser

        if not webbrowser.open(page):
            click.echo("There is no browser to open it in.", err=True)


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Have SIGTERM do what Ctrl-C does, while in the context."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _errors_in_one_line() -> Iterator[None]:
    """Turn what users cause into one line and an exit code; bugs pass through."""
    try:
        yield
    except click.UsageError as error:
        if error.ctx is None:
            raise
        message = error.format_message()
        if not isinstance(error, click.BadParameter):
            message = f"{message} Try '{error.ctx.command_path} --help'."
        # Without its context it is shown without three lines about usage.
        raise click.UsageError(_in_one_line(message)) from error
    except KeyboardInterrupt as error:
        message = "Interrupted"
        raise _Interrupted(message) from error
    except DaskkitError as error:
        raise click.ClickException(_in_one_line(str(error))) from error
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise  # the reader of a pipe has gone; click ends in silence
        message = f"the operating system refused: {error}"
        raise click.ClickException(_in_one_line(message)) from error


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def _fail(message: str) -> NoReturn:
    """End with exit code 1 and a line on standard error."""
    raise click.ClickException(message)


def _fail_if_bad(comparisons: Sequence[Comparison]) -> None:
    """End with exit code 1 if a back end failed or was wrong."""
    bad = [
        f"{run.backend} on {comparison.workload} ({run.status})"
        for comparison in comparisons
        for run in comparison.runs
        if run.status in _BAD
    ]
    if bad:
        _fail(f"{format_count(len(bad), 'row')} without a valid time: {', '.join(bad)}")


def _measure_all(
    samples: Sequence[str],
    size: str,
    measure: Callable[[Workload], tuple[_T, list[str]]],
    targets: Mapping[str, Path],
    report: Path | None,
) -> list[_T]:
    """Measure samples one after the other, print what comes out and write the files."""
    from daskkit.report.page import save_page

    for target in targets.values():
        check_free(target)
    # All of them first: a sample whose data is missing ends the command here.
    workloads = {name: sample_registry.make_workload(name, size) for name in samples}
    results: list[_T] = []
    for name in samples:
        workload = workloads.pop(name)
        _announce(workload, size)
        result, remarks = measure(workload)
        if results:
            click.echo()
        click.echo(repr(result))
        for remark in remarks:
            click.echo()
            click.echo(remark)
        results.append(result)
        # At once: an error or Ctrl-C in the next sample doesn't cost this one.
        if name in targets:
            result.save(targets[name])
        if report is not None:
            save_page(report, [result.section() for result in results])
    if report is not None or targets:
        click.echo()
    for target in targets.values():
        click.echo(f"Measurements: {target.resolve()}")
    if report is not None:
        click.echo(f"Report: {report.resolve()}")
    return results


def _announce(workload: Workload, size: str) -> None:
    """Say what begins: it may take minutes, and in a pipe there is no bar."""
    n_items = format_count(len(workload.items), "item")
    click.echo(f"Comparing {workload.name} ({size}, {n_items}) ...", err=True)


def _reason_not_to_run(backend: type[Backend]) -> str | None:
    """Return why a back end can't run any workload here, or None."""
    from daskkit.records import Workload

    anything = Workload("any", abs, (), vectorized=list, compiled=lambda: abs)
    return backend.unavailable(anything)


def _print_findings(findings: Sequence[Finding]) -> None:
    mark_width = max(map(len, _COLOURS))
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        # Padded before it is coloured: escape codes have a length, too.
        mark = _colour(f"{finding.mark:{mark_width}}", finding.mark)
        click.echo(f"{mark}  {finding.subject:{width}}  {finding.message}")
        if finding.advice:
            click.echo(f"{'':{mark_width}}  {'':{width}}  -> {finding.advice}")


def _colour(text: str, mark: str) -> str:
    """Return a text in the colour of a mark; click drops it outside a terminal."""
    return text if os.environ.get("NO_COLOR") else click.style(text, fg=_COLOURS[mark])
