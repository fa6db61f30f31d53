"""`dk.scaling`: laws from measured rows, what they allow to be said, files and pages."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

import daskkit as dk
from daskkit.comparison import scaling as scaling_module
from daskkit.comparison.laws import speedup
from daskkit.errors import DaskkitError
from tests.made import HOST, make_comparison, make_run, make_trace


def make_scaling(counts=(1, 2, 4, 8), *, weak=(), cores=64, jitter=0.0, **changes):
    """Return rows that follow the Universal Scalability Law, 2 s on one worker."""
    runs = [
        make_run(
            f"x@{n}",
            [2 / speedup("usl", n, 0.05, 0.002) * (1 + jitter * k) for k in range(5)],
            workers=n,
        )
        for n in counts
    ]
    runs = [dataclasses.replace(r, **changes.get(r.backend, {})) for r in runs]
    strong = make_comparison(*runs, n_workers=max(counts))
    strong = dataclasses.replace(
        strong, host=dataclasses.replace(HOST, cores_usable=cores)
    )
    return dk.Scaling("x", strong, tuple(weak))


def make_weak(n, contention=0.1):
    """Return work for n workers, which follows Gustafson's law, beside its loop."""
    wall = n / speedup("gustafson", n, contention, 0.0)
    comparison = make_comparison(make_run(f"x@{n}", (2 * wall,) * 5, workers=n))
    loop = make_run("serial", (2.0 * n,) * 5, workers=1)
    host = dataclasses.replace(HOST, cores_usable=64)
    return dataclasses.replace(comparison, runs=(loop, *comparison.runs[1:]), host=host)


def test_laws_are_fitted_to_the_rows():
    """The parameters that the rows were made with come back."""
    amdahl, usl = make_scaling().laws
    assert (amdahl.name, usl.name) == ("amdahl", "usl")
    assert usl.contention == pytest.approx(0.05)
    assert usl.crosstalk == pytest.approx(0.002)
    assert usl.peak_workers == pytest.approx(math.sqrt(0.95 / 0.002))


def test_table_has_a_row_for_each_number_of_workers():
    """Speed-ups are over one worker; what was not measured is NaN."""
    table = make_scaling().table()
    assert list(table["workers"]) == [1, 2, 4, 8]
    expected = [speedup("usl", n, 0.05, 0.002) for n in (1, 2, 4, 8)]
    assert list(table["speedup"]) == pytest.approx(expected)
    assert table["weak_speedup"].isna().all()
    assert table["efficiency"].iloc[0] == 1.0


def test_verdict_says_what_holds():
    """Fastest number of workers, both laws, the peak, and where they end."""
    verdict = make_scaling().verdict()
    assert "x is fastest on 8 workers: 5.47 times as fast as on one" in verdict
    assert "By Amdahl's law" in verdict
    assert "By the Universal Scalability Law, 5 % of the work is done by one" in verdict
    assert "Beyond 22 workers more is slower" in verdict
    assert "The Universal Scalability Law is not read beyond 32 workers" in verdict


def test_nothing_is_claimed_without_a_difference():
    """Rows that don't differ are not ranked."""
    scaling = make_scaling(
        counts=(1, 2), **{"x@2": {"repeats": make_run().repeats * 2}}
    )
    rows = scaling.strong.runs
    same = dataclasses.replace(rows[2], repeats=rows[1].repeats)
    strong = dataclasses.replace(scaling.strong, runs=(*rows[:2], same))
    verdict = dk.Scaling("x", strong).verdict()
    assert "No number of workers is shown to be faster than one with x." in verdict


def test_no_share_is_a_power_of_ten():
    """Work that one worker does alone is 100 % of it, not 1e+02 %."""
    rows = [make_run(f"x@{n}", (2.0,) * 5, workers=n) for n in (1, 2)]
    verdict = dk.Scaling("x", make_comparison(*rows)).verdict()
    assert "100 % of the work is done by one worker" in verdict
    assert "e+" not in verdict


def test_workers_without_a_core_are_no_part_of_the_laws():
    """More workers than cores are measured and shown, but not fitted."""
    scaling = make_scaling(cores=4)
    assert scaling.laws[0].measured == (1, 2, 4)
    assert len(scaling.points) == 4
    assert "8 workers share 4 cores and are left out of the laws" in scaling.verdict()


def test_failed_rows_are_left_out_and_named():
    """A number of workers that failed says so, and the rest is fitted."""
    scaling = make_scaling(
        **{"x@4": {"status": "failed", "error": "MemoryError: no", "repeats": ()}}
    )
    assert scaling.laws[0].measured == (1, 2, 8)
    assert "4 workers: failed: MemoryError: no." in scaling.verdict()
    assert list(scaling.table()["status"]) == ["ok", "ok", "failed", "ok"]


def test_without_one_worker_there_is_no_law():
    """If one worker failed, nothing can be compared with it, and that is said."""
    scaling = make_scaling(
        **{"x@1": {"status": "failed", "error": "why", "repeats": ()}}
    )
    assert scaling.laws == ()
    assert scaling.points == ()
    assert "too few numbers of workers" in scaling.verdict()
    with pytest.raises(DaskkitError, match="no law was fitted"):
        scaling.predict(2)


def test_prediction_or_refusal():
    """Within its limit the law answers, beyond it says why it doesn't."""
    scaling = make_scaling()
    expected = speedup("usl", 16, 0.05, 0.002)
    assert scaling.predict(16).speedup == pytest.approx(expected)
    assert "16 workers would be" in scaling.answer(16)
    assert "can't say what 64 workers would bring" in scaling.answer(64)


def test_simulation_answers_where_batches_were_stamped():
    """With a trace, the answer has a simulated wall time, too."""
    scaling = make_scaling(**{"x@2": {"trace": make_trace()}})
    assert "By a simulation with the measured costs, 16 workers" in scaling.answer(16)
    assert scaling.what_if(n_workers=2).wall_s == pytest.approx(make_trace().wall_s)
    assert "simulation" not in make_scaling().answer(16)
    with pytest.raises(DaskkitError, match="no batch was stamped"):
        make_scaling().what_if(n_workers=2)


def test_weak_scaling_follows_gustafson():
    """Work that grows is compared with the loop over the same items, then with one."""
    scaling = make_scaling(weak=[make_weak(n) for n in (1, 2, 4)])
    (law,) = scaling.weak_laws
    assert law.contention == pytest.approx(0.1)
    assert [p.speedup for p in scaling.weak_points] == pytest.approx([1.0, 1.9, 3.7])
    assert "Where the work grows with the workers, 10 %" in scaling.verdict()
    assert "weak speed-up" in repr(scaling)


@pytest.mark.parametrize("weak", [(), (make_weak(1), make_weak(2))])
def test_it_is_saved_and_read(tmp_path, weak):
    """A file gives the same scaling again, and its comparison to `dk.load`."""
    scaling = make_scaling(weak=weak)
    path = scaling.save(tmp_path / "x.json")
    assert dk.Scaling.load(path) == scaling
    assert dk.load(path) == scaling.strong
    json.loads(path.read_text(), parse_constant=pytest.fail)


def test_load_refuses_a_plain_comparison(tmp_path):
    """A comparison without a scaling is named, with what reads it."""
    path = make_comparison().save(tmp_path / "x.json")
    with pytest.raises(DaskkitError, match=r"without its scaling; use daskkit\.load"):
        dk.Scaling.load(path)


def test_damaged_files_are_refused(tmp_path):
    """A file whose scaling is incomplete is called damaged."""
    path = make_scaling().save(tmp_path / "x.json")
    document = json.loads(path.read_text())
    del document["scaling"]["weak"]
    path.write_text(json.dumps(document))
    with pytest.raises(DaskkitError, match="is damaged: KeyError"):
        dk.Scaling.load(path)


def test_page_has_the_figure(tmp_path):
    """Its page shows the verdict, the table and speed-up against workers."""
    scaling = make_scaling(weak=[make_weak(1), make_weak(2)])
    text = scaling.save(tmp_path / "x.html").read_text()
    for target in ("c1-scaling0", "c1-scaling1"):
        assert f'id="{target}"' in text
    assert "x is fastest on 8 workers" in text


def test_pictures():
    """Both kinds are drawn; weak scaling only where it was measured."""
    scaling = make_scaling(weak=[make_weak(1), make_weak(2)])
    assert "grows" in scaling.plot("weak").title
    assert "<iframe" in scaling._repr_html_()
    with pytest.raises(DaskkitError, match=r"ask for it by scaling\(weak=True\)"):
        make_scaling().plot("weak")
    with pytest.raises(DaskkitError, match="no picture 'pie'; there are: strong, weak"):
        scaling.plot("pie")


WORK = dk.Workload("squares", lambda x: x * x, range(100), combine=sum)


@pytest.mark.timeout(240)
def test_scaling_for_real():
    """Each number of workers is a row beside the loop; growing work has its own loops."""
    scaling = dk.scaling(
        WORK, n_workers=[2], backend="multiprocessing", weak=True, repeats=1
    )
    names = [run.backend for run in scaling.strong.runs]
    assert names == ["serial", "multiprocessing@1", "multiprocessing@2"]
    assert {run.status for run in scaling.strong.runs} == {"ok"}
    assert [comparison.n_items for comparison in scaling.weak] == [50, 100]
    assert set(scaling.times) == set(scaling.weak_times) == {1, 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_workers": 4}, r"several numbers of workers, such as \[1, 2, 4\]"),
        ({"n_workers": [0]}, "at least 1"),
        ({"n_workers": [1]}, "must have a number other than 1"),
        ({"backend": "daskkit@2"}, "'daskkit@2' has a number of workers of its own"),
        ({"backend": "serial"}, "'serial' always uses one worker"),
        ({"backend": "rey"}, "unknown back end 'rey'"),
        ({"n_workers": [2, 200], "weak": True}, "has 100 items, .* to 200 workers"),
        ({"n_workers": [2], "repeats": 0}, "repeats must be"),
    ],
)
def test_wrong_arguments_start_nothing(options, message, monkeypatch):
    """What was wrong is named, and no contestant is started."""
    monkeypatch.setattr("daskkit.comparison.contestant.subprocess.Popen", pytest.fail)
    with pytest.raises(DaskkitError, match=message):
        dk.scaling(WORK, **options)


def test_workload_has_to_be_one():
    """Anything but a workload is refused by its type."""
    with pytest.raises(DaskkitError, match=r"must be a daskkit\.Workload, received 7"):
        dk.scaling(7)


@pytest.mark.parametrize(
    ("cores", "expected"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])]
)
def test_default_numbers_of_workers(cores, expected, monkeypatch):
    """Powers of two up to the cores, and the cores."""
    monkeypatch.setattr(scaling_module, "usable_cores", lambda: cores)
    assert scaling_module._check_counts(None) == expected


def test_shares_grow_with_the_workers():
    """With n workers there are n shares of the items, taken evenly from all of them."""
    work = dk.Workload("w", abs, range(10))
    shares = scaling_module._share_out(work, [1, 2, 4])
    assert {n: len(share.items) for n, share in shares.items()} == {1: 2, 2: 4, 4: 8}
    assert shares[1].items == [0, 5]
    assert shares[2].items == [0, 2, 5, 7]
