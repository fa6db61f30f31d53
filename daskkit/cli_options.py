"""What several commands take: samples, back ends, sizes and files, checked.

Beside `cli`, which has the commands; prints nothing.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from daskkit.backends import registry as backend_registry
from daskkit.errors import BackendError, DaskkitError
from daskkit.samples import registry as sample_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = [
    "check_backends",
    "check_free",
    "check_name",
    "check_report",
    "complete_backend",
    "json_option",
    "json_targets",
    "repeats_option",
    "report_option",
    "samples_argument",
    "size_option",
]

_DEFAULT_SAMPLE = "flights"
_SIZES = ("small", "full")


def _check_samples(
    ctx: click.Context, param: click.Parameter, names: tuple[str, ...]
) -> list[str]:
    """Return names of samples, each once, or refuse one that is unknown."""
    with _refusing(ctx, param):
        for name in names:
            sample_registry.describe(name)
    return list(dict.fromkeys(names or (_DEFAULT_SAMPLE,)))


def check_backends(
    ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]
) -> list[str] | None:
    """Return specifications and groups, or refuse one; None is what is built in."""
    for text in texts:
        with _refusing(ctx, param):
            try:
                backend_registry.parse_specs(text)
            except BackendError as error:
                if "," not in text.partition(":")[0]:
                    raise
                msg = f"{error}; give --backend once for each"
                raise BackendError(msg) from error
    return list(texts) or None


def check_report(
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
    from daskkit.comparison.documents import check_report_path

    with _refusing(ctx, param):
        return check_report_path(path, (suffix,))


def check_name(ctx: click.Context, param: click.Parameter, name: str) -> str:
    """Return a name that a cluster may have, or refuse."""
    from daskkit.run import named

    with _refusing(ctx, param):
        named.check_free(name)
    return name


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


def complete_backend(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[str]:
    """Return the back ends that a shell may offer."""
    names = (*backend_registry.names(), *backend_registry.GROUPS)
    return [name for name in names if name.startswith(incomplete)]


samples_argument = click.argument(
    "samples",
    metavar="[SAMPLE]...",
    nargs=-1,
    callback=_check_samples,
    shell_complete=_complete_sample,
)

size_option = click.option(
    "--size",
    type=click.Choice(_SIZES),
    default=_SIZES[0],
    show_default=True,
    help="The plain loop takes under a second, or several.",
)

report_option = click.option(
    "--report",
    metavar="FILE.html",
    type=click.Path(readable=False),
    callback=check_report,
    help="Write a page to look at, with a section for each sample.",
)


def repeats_option(text: str) -> Callable[[Any], Any]:
    """Return the option ``--repeats``, with what fewer than five can't do."""
    return click.option(
        "--repeats",
        metavar="R",
        type=click.IntRange(min=1),
        default=5,
        show_default=True,
        help=text,
    )


def json_option(reader: str) -> Callable[[Any], Any]:
    """Return the option ``--json``, with what reads the file."""
    return click.option(
        "--json",
        "measurements",
        metavar="FILE.json",
        type=click.Path(readable=False),
        callback=_check_measurements,
        help=f"Write the measurements, for {reader}. Of several samples each gets a "
        "file of its own: FILE-SAMPLE.json.",
    )


def json_targets(path: Path | None, samples: Sequence[str]) -> dict[str, Path]:
    """Return where the measurements of each sample go.

    Examples
    --------
    >>> from pathlib import PurePosixPath as Path
    >>> str(json_targets(Path("out/x.json"), ["pi"])["pi"])
    'out/x.json'
    >>> str(json_targets(Path("out/x.json"), ["pi", "words"])["words"])
    'out/x-words.json'
    """
    if path is None:
        return {}
    if len(samples) == 1:
        return {samples[0]: path}
    return {
        name: path.with_name(f"{path.stem}-{name}{path.suffix}") for name in samples
    }


def check_free(target: Path) -> None:
    """Refuse a file whose name was made here, so that no option's check saw it."""
    from daskkit.comparison.documents import check_report_path

    try:
        check_report_path(target)
    except DaskkitError as error:
        raise click.BadParameter(str(error), param_hint="'--json'") from error
