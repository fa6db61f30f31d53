"""The commands scaling, report and explain: what is printed, written and refused."""

from __future__ import annotations

import importlib

import pytest

import daskkit as dk
from daskkit.records import Workload
from daskkit.samples import registry as sample_registry
from tests.made import make_comparison, make_run, make_trace
from tests.test_cli import invoke, one_line

scaling_module = importlib.import_module("daskkit.comparison.scaling")


@pytest.fixture
def calls(monkeypatch):
    """Replace `compare` by one that measures nothing; collect how it was called."""
    made = []

    def compare(workload, **options):
        made.append((workload.name, options))
        rows = [
            make_run(spec, (2 / int(spec.partition("@")[2]),) * 5,
                     workers=int(spec.partition("@")[2]))
            for spec in options["backends"]
        ]  # fmt: skip
        return make_comparison(*rows, workload=workload.name)

    monkeypatch.setattr(scaling_module, "compare", compare)
    monkeypatch.setattr(
        sample_registry,
        "make_workload",
        lambda name, size: Workload(name, func=abs, items=range(8)),
    )
    return made


def test_scaling_prints_table_and_verdict(calls):
    """The bare command measures flights with daskkit, on powers of two."""
    result = invoke("scaling", "--n-workers", 2)
    assert result.exit_code == 0, result.stderr
    assert "flights with daskkit" in result.stdout
    assert "daskkit is fastest on 2 workers" in result.stdout
    ((name, options),) = calls
    assert name == "flights"
    assert options["backends"] == ["daskkit@1", "daskkit@2"]
    assert options["repeats"] == 5


def test_scaling_writes_files(calls, tmp_path):
    """The page has a section a sample; each sample has measurements of its own."""
    report, measurements = tmp_path / "r.html", tmp_path / "m.json"
    result = invoke(
        *("scaling", "pi", "words", "--n-workers", 2, "--weak"),
        *("--report", report, "--json", measurements),
    )
    assert result.exit_code == 0, result.stderr
    assert report.read_text().count("<h2") == 3
    for name in ("pi", "words"):
        scaling = dk.Scaling.load(tmp_path / f"m-{name}.json")
        assert scaling.strong.workload == name
        assert len(scaling.weak) == 2


def test_what_if_answers_or_says_why_not(calls):
    """Two numbers of workers don't bear a statement about 64."""
    result = invoke("scaling", "pi", "--n-workers", 2, "--what-if", 64)
    assert result.exit_code == 0, result.stderr
    assert "can't say what 64 workers would bring" in result.stdout
    assert "may be read up to 2" in result.stdout
    assert calls[0][1]["ledger"] is True  # for a simulation


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backend", "serial"], "always uses one worker"),
        (["--backend", "rey"], "unknown back end 'rey'"),
        (["--n-workers", "1"], "must have a number other than 1"),
    ],
)
def test_wrong_input_of_scaling(calls, arguments, words):
    """What can't scale is refused in one line before anything is measured."""
    result = invoke("scaling", "pi", *arguments)
    assert result.exit_code in {1, 2}
    assert words in result.stderr.splitlines()[-1]
    assert calls == []


def test_report_of_several_files(tmp_path):
    """One page has all comparisons and a figure of all their runs."""
    files = [
        make_comparison(make_run(), workload=name).save(tmp_path / f"{name}.json")
        for name in ("pi", "words")
    ]
    page = tmp_path / "page.html"
    result = invoke("report", *files, "-o", page)
    assert result.exit_code == 0, result.stderr
    assert one_line(result.stdout) == f"Report: {page}"
    text = page.read_text()
    for part in (">pi</h2>", ">words</h2>", "All runs"):
        assert part in text


def test_report_refuses_what_is_no_comparison(tmp_path):
    """A file that holds something else ends the command in one line."""
    (tmp_path / "x.json").write_text("[]")
    result = invoke("report", tmp_path / "x.json", "-o", tmp_path / "page.html")
    assert result.exit_code == 1
    assert "is not a saved comparison" in one_line(result.stderr)
    assert not (tmp_path / "page.html").exists()


def test_explain_says_where_the_time_went(tmp_path):
    """The largest loss of a saved comparison, with what to do about it."""
    path = make_comparison(make_run("x", trace=make_trace())).save(tmp_path / "x.json")
    result = invoke("explain", path)
    assert result.exit_code == 0, result.stderr
    assert "went into computing" in result.stdout
    assert "The largest loss is" in result.stdout


def test_explain_without_stamps_says_so(tmp_path):
    """A comparison in which no batch was stamped has no ledger."""
    path = make_comparison(make_run()).save(tmp_path / "x.json")
    result = invoke("explain", path, "--backend", "x")
    assert result.exit_code == 1
    assert "there is no ledger of 'x'" in one_line(result.stderr)
