"""The answer that several processes write into: its parts, whoever puts them where."""

from __future__ import annotations

import gc
import os
import pickle
import warnings
from pathlib import Path

import dask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskkit.transport import contact, files, output
from daskkit.transport.errors import NoRoomError
from daskkit.transport.output import Layout, Output, find_span

pytestmark = pytest.mark.skipif(
    not files.have_memfd(), reason="there are no anonymous files here"
)
SHAPE = (400, 500)  # 1.6 MB
LAYOUT = Layout(SHAPE, np.dtype(float), "C")
ROWS = (slice(100, 300), slice(None))
COLUMNS = (slice(None), slice(100, 300))


def make_values(region):
    return np.arange(200_000.0).reshape(SHAPE)[region]


def n_files():
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except OSError:
            continue
    return sum("memfd:daskkit (" in link for link in links)


def put_in_child(sent, region, values):
    """Put a part from a forked process; return its exit code: 0 if that went well."""
    with warnings.catch_warnings():
        # Python 3.12 warns of threads; the child only writes, and ends.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 2
        try:
            held = pickle.loads(sent) if isinstance(sent, bytes) else sent
            code = int(not held.put(region, values))
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("is_pickled", [True, False])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("region", [ROWS, COLUMNS])
@pytest.mark.parametrize("shared_first", [True, False])
def test_another_process_writes_into_the_answer(
    is_pickled, order, region, shared_first
):
    """A forked and an unpickled copy write the same memory, in one piece or in many."""
    whole = Output("it")
    layout = LAYOUT._replace(order=order)
    steps = [whole.share, lambda: whole.allocate(layout)]
    for step in steps if shared_first else reversed(steps):
        step()
    sent = pickle.dumps(whole) if is_pickled else whole
    assert put_in_child(sent, region, make_values(region)) == 0
    result = whole.finish(is_used=True)
    np.testing.assert_array_equal(result[region], make_values(region))
    assert result.flags["F_CONTIGUOUS" if order == "F" else "C_CONTIGUOUS"]
    result[:] = 1  # an ordinary array


def test_what_was_put_before_it_was_shared_is_there():
    """Parts in the caller's own memory are moved into the file in the end."""
    whole = Output("it")
    whole.allocate(LAYOUT)
    head, tail = (slice(0, 100), slice(None)), (slice(100, 400), slice(None))
    assert whole.put(head, make_values(head))
    whole.share()
    assert put_in_child(pickle.dumps(whole), tail, make_values(tail)) == 0
    np.testing.assert_array_equal(whole.finish(is_used=True), make_values(...))


def test_caller_keeps_its_own_memory_if_nobody_else_has_written():
    """Having been shared for nothing costs nothing: the array is the one that was filled."""
    whole = Output("it")
    whole.allocate(LAYOUT)
    whole.put((slice(None),) * 2, 3.0)
    whole.share()
    result = whole.finish()
    assert result.flags.owndata
    assert (result == 3).all()
    assert n_files() == 0


def test_other_processes_know_the_layout_once_it_is_known():
    """Told of the call before the first result, they can put nothing until there is one."""
    whole = Output("it")
    whole.share()
    sent = pickle.dumps(whole)
    held = pickle.loads(sent)
    assert held.layout is None
    assert not held.put(ROWS, 1.0)
    whole.allocate(LAYOUT)
    assert held.layout == LAYOUT
    assert held.put(ROWS, 1.0)
    result = whole.finish(is_used=True)
    assert (result[ROWS] == 1).all()


def test_child_cannot_write_into_memory_that_is_not_shared():
    """A fork of a process whose answer is its own has to send what it computes."""
    whole = Output("it")
    whole.allocate(LAYOUT)
    assert put_in_child(whole, ROWS, 1.0) == 1


def test_result_is_private():
    """When the call is over, no other process sees or changes the answer."""
    whole = Output("it")
    whole.share()
    whole.allocate(LAYOUT)
    held = pickle.loads(pickle.dumps(whole))
    held.put(ROWS, 1.0)
    result = whole.finish(is_used=True)
    with pytest.raises(PermissionError):
        held.put(ROWS, 2.0)
    assert (result[ROWS] == 1).all()


@pytest.mark.parametrize(
    "layout",
    [
        Layout((10,), np.dtype(float), "C"),
        Layout((0, 5), np.dtype(float), "C"),
        Layout((2**18,), np.dtype(object), "C"),
        Layout((2**18,), np.dtype([(f"field-{i}", "i4") for i in range(300)]), "C"),
    ],
    ids=["small", "empty", "objects", "a dtype of a thousand letters"],
)
@pytest.mark.parametrize("shared_first", [True, False])
def test_what_cannot_be_shared_stays_here(layout, shared_first):
    """Then other processes get no file, and the caller has ordinary memory."""
    whole = Output("it")
    steps = [whole.share, lambda: whole.allocate(layout)]
    for step in steps if shared_first else reversed(steps):
        step()
    held = pickle.loads(pickle.dumps(whole))
    assert not held.put([slice(None)] * len(layout.shape), np.zeros((), layout.dtype))
    assert whole.put([slice(None)] * len(layout.shape), np.zeros((), layout.dtype))
    assert whole.finish().flags.owndata
    assert n_files() == 0


@pytest.mark.parametrize("case", ["route", "place", "blocked", "gone", "recycled"])
def test_process_that_cannot_open_the_file_puts_nothing(monkeypatch, case):
    """Told to share nothing, elsewhere, not allowed, too late, or given another file."""
    whole = Output("it")
    whole.allocate(LAYOUT)
    with dask.config.set(
        {"daskkit.transport.route": "wire" if case == "route" else "auto"}
    ):
        whole.share()
    sent = pickle.dumps(whole)
    if case == "place":
        elsewhere = contact.find_place()._replace(machine="another")
        monkeypatch.setattr(contact, "find_place", lambda: elsewhere)
    if case == "blocked":
        monkeypatch.setattr(output, "_blocked", True)
    if case in {"gone", "recycled"}:
        whole.close()
    other = Output("another")
    if case == "recycled":
        other.share()  # under the same number
    assert not pickle.loads(sent).put(ROWS, 1.0)
    other.close()


@pytest.mark.parametrize("how", ["close", "drop", "finish"])
def test_nothing_is_left(how):
    """File and mappings go with the answer, whatever becomes of it."""
    whole = Output("it")
    whole.share()
    whole.allocate(LAYOUT)
    whole.put(COLUMNS, 1.0)  # by a mapping
    assert n_files() == 1
    if how == "close":
        whole.close()
        whole.close()
    elif how == "finish":
        whole.finish()
    del whole
    gc.collect()
    assert n_files() == 0
    assert "memfd:daskkit (" not in Path("/proc/self/maps").read_text()


def test_too_little_memory_is_an_error_that_says_so(monkeypatch):
    """The answer that doesn't fit is named, and no file is left."""
    monkeypatch.setattr(files, "_free_memory", lambda: 2.0**20)
    whole = Output("the result of f")
    whole.allocate(Layout((2**26,), np.dtype("u1"), "C"))
    with pytest.raises(NoRoomError, match="No room to share the result of f"):
        whole.share()
    assert n_files() == 0


def test_values_of_another_kind_are_refused():
    """They are cast as NumPy's assignment does, if the kind stays the same."""
    whole = Output("it")
    whole.share()
    whole.allocate(Layout((2**20,), np.dtype("i4"), "C"))
    assert whole.put([slice(0, 3)], np.array([1, 2, 3]))
    with pytest.raises(TypeError, match="same_kind"):
        whole.put([slice(0, 3)], np.array([1.5, 2, 3]))
    np.testing.assert_array_equal(whole.finish()[:3], [1, 2, 3])


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    order=st.sampled_from("CF"),
    draw=st.data(),
)
def test_span_is_where_a_part_lies(shape, order, draw):
    """A part without gaps has the offset and shape of NumPy's own view of it."""
    layout = Layout(tuple(shape), np.dtype("i4"), order)
    region = []
    for length in shape:
        start = draw.draw(st.integers(0, length - 1))
        region.append(slice(start, draw.draw(st.integers(start + 1, length))))
    array = np.ndarray(shape, "i4", order=order)
    view = array[tuple(region)]
    span = find_span(layout, region)
    is_whole = view.flags.f_contiguous if order == "F" else view.flags.c_contiguous
    assert (span is not None) == is_whole
    if span is not None:
        address = array.__array_interface__["data"][0]
        assert span == (view.__array_interface__["data"][0] - address, view.shape)
