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
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import click

from daskkit import __version__
from daskkit.backends import registry as backend_registry
from daskkit.errors import BackendError, DaskkitError
from daskkit.samples import registry as sample_registry
from daskkit.units import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from daskkit.backends.base import Backend
    from daskkit.comparison.result import Comparison
    from daskkit.doctor import Finding
    from daskkit.records import Workload

__all__ = ["main"]

_DEFAULT_SAMPLE = "flights"
_SIZES = ("small", "full")
# Rows whose figures don't count; one that can't run here is no failure.
_BAD = ("failed", "wrong")
_COLOURS = {"ok": "green", "note": "yellow", "problem": "red"}
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


def _check_samples(
    ctx: click.Context, param: click.Parameter, names: tuple[str, ...]
) -> list[str]:
    """Return names of samples, each once, or refuse one that is unknown."""
    with _refusing(ctx, param):
        for name in names:
            sample_registry.describe(name)
    return list(dict.fromkeys(names or (_DEFAULT_SAMPLE,)))


def _check_backends(
    ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]
) -> list[str] | None:
    """Return specifications of back ends, or refuse one; None stands for all."""
    for text in texts:
        with _refusing(ctx, param):
            try:
                backend_registry.parse_spec(text)
            except BackendError as error:
                if "," not in text.partition(":")[0]:
                    raise
                msg = f"{error}; give --backend once for each"
                raise BackendError(msg) from error
    return list(texts) or None


def _check_report(
    ctx: click.Context, param: click.Parameter, path: str | None
) -> Path | None:
    """Return where a page can be written, or refuse."""
    return _check_target(ctx, param, path, ".html")


def _check_measurements(
    ctx: click.Context, param: click.Parameter, path: str | None
) -> Path | None:
    """Return where measurements can be written, or refuse."""
    return _check_target(ctx, param, path, ".json")


def _check_target(
    ctx: click.Context, param: click.Parameter, path: str | None, suffix: str
) -> Path | None:
    if path is None:
        return None
    from daskkit.comparison.result import check_report_path

    with _refusing(ctx, param):
        return check_report_path(path, (suffix,))


@contextlib.contextmanager
def _refusing(ctx: click.Context, param: click.Parameter) -> Iterator[None]:
    """Turn our errors into click's, which name the option and exit with code 2."""
    try:
        yield
    except DaskkitError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def _complete_sample(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[str]:
    """Return the samples that a shell may offer."""
    return [name for name in sample_registry.names() if name.startswith(incomplete)]


def _complete_backend(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[str]:
    """Return the back ends that a shell may offer."""
    return [name for name in backend_registry.names() if name.startswith(incomplete)]


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
@click.argument(
    "samples",
    metavar="[SAMPLE]...",
    nargs=-1,
    callback=_check_samples,
    shell_complete=_complete_sample,
)
@click.option(
    "--backend",
    "backends",
    metavar="NAME[@N][:OPTION=VALUE,...]",
    multiple=True,
    callback=_check_backends,
    shell_complete=_complete_backend,
    help="A back end, on N workers of its own; may be repeated.  [default: all]",
)
@click.option(
    "--n-workers",
    metavar="N",
    type=click.IntRange(min=1),
    help="Workers of each back end.  [default: one a usable core]",
)
@click.option(
    "--repeats",
    metavar="R",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Timed repeats; fewer than 5 can't show what is faster.",
)
@click.option(
    "--size",
    type=click.Choice(_SIZES),
    default=_SIZES[0],
    show_default=True,
    help="The plain loop takes under a second, or several.",
)
@click.option(
    "--report",
    metavar="FILE.html",
    type=click.Path(readable=False),
    callback=_check_report,
    help="Write a page to look at, with a section for each sample.",
)
@click.option(
    "--json",
    "measurements",
    metavar="FILE.json",
    type=click.Path(readable=False),
    callback=_check_measurements,
    help="Write the measurements, for daskkit.load(). Of several samples each gets "
    "a file of its own: FILE-SAMPLE.json.",
)
def compare(
    *,
    samples: list[str],
    backends: list[str] | None,
    n_workers: int | None,
    repeats: int,
    size: str,
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
      daskkit compare flights landmask --size full --report report.html
    """  # noqa: D301 - \b is click's sign for "keep these lines", not an escape
    from daskkit.comparison.compare import compare as run_comparison
    from daskkit.comparison.result import save_report

    targets = _json_targets(measurements, samples)
    for target in targets.values():
        _check_free(target)
    # All of them first: a sample whose data is missing ends the command here.
    workloads = {name: sample_registry.make_workload(name, size) for name in samples}
    comparisons: list[Comparison] = []
    for name in samples:
        workload = workloads.pop(name)
        _announce(workload, size)
        comparison = run_comparison(
            workload,
            backends=backends,
            n_workers=n_workers,
            repeats=repeats,
        )
        if comparisons:
            click.echo()
        click.echo(repr(comparison))
        comparisons.append(comparison)
        # At once: an error or Ctrl-C in the next sample doesn't cost this one.
        if name in targets:
            comparison.save(targets[name])
        if report is not None:
            save_report(report, comparisons)
    if report is not None or targets:
        click.echo()
    for target in targets.values():
        click.echo(f"Measurements: {target.resolve()}")
    if report is not None:
        click.echo(f"Report: {report.resolve()}")
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


def _check_name(ctx: click.Context, param: click.Parameter, name: str) -> str:
    """Return a name that a cluster may have, or refuse."""
    from daskkit.run import named

    with _refusing(ctx, param):
        named.check_free(name)
    return name


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
    callback=_check_name,
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

    Only this machine can reach it. The file by which it is found can be read by you
    alone.

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
            with named.publish(name, address, page):
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


def _announce(workload: Workload, size: str) -> None:
    """Say what begins: it may take minutes, and in a pipe there is no bar."""
    n_items = format_count(len(workload.items), "item")
    click.echo(f"Comparing {workload.name} ({size}, {n_items}) ...", err=True)


def _json_targets(path: Path | None, samples: Sequence[str]) -> dict[str, Path]:
    """Return where the measurements of each sample go.

    Examples
    --------
    >>> from pathlib import PurePosixPath as Path
    >>> str(_json_targets(Path("out/x.json"), ["pi"])["pi"])
    'out/x.json'
    >>> str(_json_targets(Path("out/x.json"), ["pi", "words"])["words"])
    'out/x-words.json'
    """
    if path is None:
        return {}
    if len(samples) == 1:
        return {samples[0]: path}
    return {
        name: path.with_name(f"{path.stem}-{name}{path.suffix}") for name in samples
    }


def _check_free(target: Path) -> None:
    """Refuse a file whose name was made here, so that no option's check saw it."""
    from daskkit.comparison.result import check_report_path

    try:
        check_report_path(target)
    except DaskkitError as error:
        raise click.BadParameter(str(error), param_hint="'--json'") from error


def _reason_not_to_run(backend: type[Backend]) -> str | None:
    """Return why a back end can't run any workload here, or None."""
    from daskkit.records import Workload

    return backend.unavailable(Workload("any", func=abs, items=(), vectorized=list))


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
