"""`Comparison`: what it says of the traces of its runs, and how it keeps them."""

from __future__ import annotations

import json
import math

import pytest

import daskkit as dk
from daskkit.accounts import PARTS
from daskkit.comparison.pictures import KINDS
from daskkit.errors import DaskkitError
from tests.made import make_comparison, make_run, make_trace

TRACED = make_comparison(
    make_run("slow", (1.9,) * 5, trace=make_trace()),
    make_run("fast", (1.1,) * 5, trace=make_trace(gap=0.3)),
    make_run("blind", (1.0,) * 5),
)


def test_ledger_has_a_row_for_each_trace():
    """Parts in core-seconds sum to workers x wall, and in per cent to 100."""
    table = TRACED.ledger()
    assert list(table["backend"]) == ["slow", "fast"]
    whole = table["workers"] * table["wall_s"]
    assert table[list(PARTS)].sum(axis=1).to_numpy() == pytest.approx(whole.to_numpy())
    percents = table.filter(like="_percent")
    assert percents.shape == (2, len(PARTS))
    assert percents.sum(axis=1).to_numpy() == pytest.approx([100.0, 100.0])


def test_ledger_without_traces_is_empty():
    """Without a trace there is no row, but every column."""
    table = make_comparison(make_run()).ledger()
    assert len(table) == 0
    assert set(PARTS) < set(table.columns)


def test_fastest_row_is_explained():
    """Without a name it is the fastest row of which there is a ledger."""
    assert TRACED.explain() == TRACED.explain("fast")
    assert "the gaps between batches" in TRACED.explain()
    assert TRACED.explain() != TRACED.explain("slow")


@pytest.mark.parametrize(
    ("comparison", "backend", "message"),
    [
        (TRACED, "nobody", "no row 'nobody'; there are: serial, slow, fast, blind"),
        (TRACED, "blind", "no ledger of 'blind': no batch was stamped"),
        (make_comparison(), None, "no ledger of any row: no batch was stamped"),
    ],
)
def test_rows_without_a_ledger_are_refused(comparison, backend, message):
    """An unknown row, or one without stamps, is named, with what there is."""
    with pytest.raises(DaskkitError, match=message):
        comparison.explain(backend)


def test_what_if_starts_from_what_was_measured():
    """Without a change it is the row's own wall time; more workers take less."""
    trace = TRACED.runs[2].trace
    same = TRACED.what_if()
    assert (same.n_workers, same.wall_s) == (2, pytest.approx(trace.wall_s))
    assert TRACED.what_if(n_workers=8).wall_s < same.wall_s
    assert TRACED.what_if(backend="slow").wall_s < same.wall_s
    assert TRACED.what_if(item_cost=10.0).wall_s > 5 * TRACED.what_if().wall_s / 2
    with pytest.raises(DaskkitError, match="no ledger of 'blind'"):
        TRACED.what_if(backend="blind", n_workers=2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("comparison", [TRACED, make_comparison()])
def test_pictures_of_every_kind(comparison, kind):
    """Each kind is drawn, also of the loop alone; a timeline needs a trace."""
    if kind == "timeline" and comparison is not TRACED:
        with pytest.raises(DaskkitError, match="no batch was stamped"):
            comparison.plot(kind)
    else:
        assert comparison.plot(kind).title == f"squares: {KINDS[kind]}"


def test_pictures_show_failed_rows():
    """A failed row is a line in the coordinates and part of a ribbon."""
    comparison = make_comparison(
        make_run("bad", (), status="failed", error="why", start_s=math.nan)
    )
    for kind, name in (("coordinates", "row"), ("categories", "ribbon")):
        plot = comparison.plot(kind).figure
        assert len(plot.select_one({"name": name}).data_source.data["xs"]) >= 2


def test_unknown_pictures_are_refused():
    """The kinds that there are are named."""
    with pytest.raises(DaskkitError, match="no picture 'pie'; there are: wall_times, "):
        TRACED.plot("pie")


def test_traces_are_saved_and_read(tmp_path):
    """A saved comparison has its traces again."""
    assert dk.load(TRACED.save(tmp_path / "x.json")) == TRACED


def test_files_without_traces_are_read(tmp_path):
    """A file of an earlier version, whose runs have no traces, is read as it is."""
    path = TRACED.save(tmp_path / "x.json")
    document = json.loads(path.read_text())
    for run in document["comparison"]["runs"]:
        del run["trace"]
    path.write_text(json.dumps(document))
    assert [run.trace for run in dk.load(path).runs] == [None] * 4
