"""Objects to bytes and back: every value, dtype and order survives."""

from __future__ import annotations

import pickle
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import hypothesis.extra.numpy as hnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daskkit.transport import auto, parcel, wire
from daskkit.transport.errors import NoRoomError, UnpicklableError
from daskkit.transport.scratch import pickle_plain

COMMON = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow]
)

DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(),
    hnp.unsigned_integer_dtypes(),
    hnp.floating_dtypes(),
    hnp.complex_number_dtypes(),
    hnp.datetime64_dtypes(),
    hnp.timedelta64_dtypes(),
    hnp.unicode_string_dtypes(max_len=5),
    hnp.byte_string_dtypes(max_len=5),
    hnp.array_dtypes(max_size=3),
)


def _cuts(n_axes):
    return st.tuples(
        *[st.sampled_from([slice(None), slice(None, None, 2), slice(None, None, -1)])]
        * n_axes
    )


@st.composite
def arrays(draw):
    """Draw an array of any dtype, and a C, Fortran or strided view of it."""
    shape = hnp.array_shapes(max_dims=3, max_side=6, min_side=0)
    array = draw(hnp.arrays(DTYPES, shape))
    # Above the size from which reducers of our own take over.
    array = np.broadcast_to(
        array, (draw(st.sampled_from([1, 200])), *array.shape)
    ).copy()
    order = draw(st.sampled_from(["C", "F", "view", "transposed"]))
    if order == "F":
        return np.asfortranarray(array)
    if order == "view":
        return array[draw(_cuts(array.ndim))]
    return array.T if order == "transposed" else array


@pytest.fixture(autouse=True, params=["inline", "shared"], scope="module")
def _way(request):
    """Run each test with buffers that travel, and with buffers in shared memory."""
    patch = pytest.MonkeyPatch()
    if request.param == "shared":
        patch.setattr(auto, "SHARE_FROM", 1)
        patch.setattr(parcel, "MAP_FROM", 4096)
    yield
    patch.undo()


def _there_and_back(value, protocol=5):
    packed = auto.pack(value)
    return auto.unpack(pickle.loads(pickle.dumps(packed, protocol=protocol)))


def _assert_same_array(back, array):
    assert type(back) is type(array)
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    if array.dtype.names:  # NumPy finds no two NaT in a record equal
        assert back.tobytes() == array.tobytes()
    else:
        np.testing.assert_array_equal(back, array)
    if array.flags.c_contiguous or array.flags.f_contiguous:
        assert back.flags.c_contiguous == array.flags.c_contiguous
        assert back.flags.f_contiguous == array.flags.f_contiguous


@COMMON
@given(array=arrays(), protocol=st.sampled_from([4, 5]))
def test_arrays_survive(array, protocol):
    """Values, dtype, shape and memory order of any array come back, writable."""
    back = _there_and_back(array, protocol)
    _assert_same_array(back, array)
    assert back.flags.writeable
    assert not np.shares_memory(back, array)


def test_read_only_arrays_stay_read_only():
    """As in the plain loop, what is read-only raises when it is written to."""
    array = np.arange(100_000)
    array.flags.writeable = False
    back = _there_and_back(array)
    assert not back.flags.writeable


@pytest.mark.parametrize(
    "array",
    [
        np.arange(60_000.0).view(np.recarray),
        np.rec.array(np.zeros(20_000, dtype=[("t", "M8[ns]"), ("x", "f4")])),
        np.zeros(20_000, dtype=[("t", "M8[s]"), ("p", [("q", "i2"), ("r", "m8[D]")])]),
        np.arange(40_000).reshape(200, 200).view(np.matrix),
        np.array(["a", "long " * 20] * 9000, dtype=np.dtypes.StringDType()),
        np.array([{"a": 1}, None, "x"] * 3000, dtype=object),
        np.broadcast_to(np.arange(300), (300, 300)),
        np.array(5.0),
        np.empty((0, 7)),
    ],
    ids=lambda a: f"{type(a).__name__}-{a.dtype.kind}-{a.ndim}",
)
def test_special_arrays_survive(array):
    """Record, datetime, string, object, broadcast and empty arrays come back."""
    _assert_same_array(_there_and_back(array), array)


def test_memory_mapped_file_survives(tmp_path):
    """A numpy.memmap comes back with its values, independent of the file."""
    array = np.memmap(tmp_path / "x.bin", dtype="f8", mode="w+", shape=(20_000,))
    array[:] = np.arange(20_000)
    back = _there_and_back(array)
    np.testing.assert_array_equal(back, array)
    back[0] = -1
    assert array[0] == 0


@pytest.mark.parametrize("mask", [True, False], ids=["mask", "nomask"])
@pytest.mark.parametrize("hard", [True, False], ids=["hard", "soft"])
def test_masked_arrays_survive(mask, hard):
    """Data, mask, fill value and hardness come back, the mask's absence as well."""
    array = np.ma.MaskedArray(np.arange(50_000.0), hard_mask=hard, fill_value=-7)
    if mask:
        array = np.ma.masked_where(array.data % 3 == 0, array)
    back = _there_and_back(array)
    assert type(back) is np.ma.MaskedArray
    np.testing.assert_array_equal(back.data, array.data)
    np.testing.assert_array_equal(np.ma.getmaskarray(back), np.ma.getmaskarray(array))
    assert (back.mask is np.ma.nomask) == (array.mask is np.ma.nomask)
    assert back.fill_value == array.fill_value
    assert back.hardmask == array.hardmask


COLUMNS = {
    "int": np.arange(3000),
    "float": np.linspace(0, 1, 3000),
    "bool": np.arange(3000) % 2 == 0,
    "text": ["ä", "long text " * 3, ""] * 1000,
    "object": [None, 1, "x"] * 1000,
    "category": pd.Categorical(["u", "v", None] * 1000, ["v", "u", "w"], ordered=True),
    "time": pd.date_range("2024-03-30", periods=3000, freq="h", tz="Europe/Berlin"),
    "delta": pd.to_timedelta(np.arange(3000), unit="s"),
    "period": pd.period_range("2020", periods=3000, freq="D"),
    "interval": pd.interval_range(0, 3000),
    "nullable": pd.array([1, None, 3] * 1000, dtype="Int64"),
    "sparse": pd.arrays.SparseArray([0, 0, 1.5] * 1000),
}
INDEXES = {
    "range": pd.RangeIndex(3000, name="i"),
    "times": pd.date_range("2020", periods=3000, freq="D", name="t"),
    "categories": pd.CategoricalIndex(["a", "b", "c"] * 1000),
    "multi": pd.MultiIndex.from_product([range(30), list("ab"), range(50)]),
    "text": pd.Index([f"row {i}" for i in range(3000)]),
}


@settings(COMMON, max_examples=20)
@given(
    names=st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, unique=True),
    index=st.sampled_from(sorted(INDEXES)),
    cut=st.sampled_from([slice(None), slice(5, 2500), slice(None, None, 3), slice(0)]),
)
def test_frames_survive(names, index, cut):
    """Frames come back with values, dtypes, index and column types, also slices."""
    frame = pd.DataFrame({name: COLUMNS[name] for name in names})
    frame.index = INDEXES[index]
    frame.columns.name = "columns"
    frame.attrs["unit"] = "m"
    frame = frame.iloc[cut]
    back = _there_and_back(frame)
    pd.testing.assert_frame_equal(back, frame, check_freq=True)
    assert type(back.index) is type(frame.index)
    assert back.attrs == frame.attrs
    for name in names:
        pd.testing.assert_series_equal(back[name], frame[name])


@pytest.mark.parametrize("kind", ["int64", "string", "timestamp[ns, tz=Asia/Tokyo]"])
def test_arrow_columns_survive(kind):
    """Arrow-backed columns come back with type, values and missing values."""
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    values = [None if i % 7 == 0 else i for i in range(5000)]
    if kind == "string":
        values = [None if v is None else f"text {v}" for v in values]
    kind = pa.timestamp("ns", tz="Asia/Tokyo") if kind.startswith("time") else kind
    kind = pa.type_for_alias(kind) if isinstance(kind, str) else kind
    series = pd.Series(pd.array(values, dtype=pd.ArrowDtype(kind)))
    back = _there_and_back({"s": series[3:4000], "t": pa.table({"x": values})})
    pd.testing.assert_series_equal(back["s"], series[3:4000])
    assert back["t"].column("x").to_pylist() == values


def test_sparse_matrices_survive():
    """Scipy's sparse matrices come back equal, of the same class."""
    sparse = pytest.importorskip("scipy.sparse", reason="scipy is not installed")
    for kind in ("csr", "csc", "coo"):
        matrix = sparse.random(300, 200, 0.1, format=kind)
        back = _there_and_back([matrix])[0]
        assert type(back) is type(matrix)
        assert (back != matrix).nnz == 0


def test_identity_within_an_object_survives():
    """Two references to one array are still one array afterwards."""
    array = np.arange(100_000)
    back = _there_and_back([array, array, array[10:]])
    assert back[0] is back[1]
    np.testing.assert_array_equal(back[2], array[10:])


def test_recursive_containers_survive():
    """A list that contains itself comes back containing itself."""
    value = [1]
    value.append(value)
    back = _there_and_back(value)
    assert back[1] is back


def test_closures_defaults_and_partials_carry_their_arrays():
    """A function's captured, default and partial arguments come back with it."""
    import functools

    captured, default, given_ = (np.full(70_000, float(i)) for i in range(3))

    def func(x, y=default):
        return captured[0], x[0], y[0]

    back = _there_and_back(functools.partial(func, given_))
    assert back() == (0.0, 2.0, 1.0)


def test_captured_datetimes_go_out_of_band():
    """A datetime array that a lambda captures is a buffer, not part of the stream."""
    times = np.arange(100_000).astype("M8[s]")
    dumped = wire.dump(lambda: times)
    assert [buffer.raw().nbytes for buffer in dumped.buffers] == [times.nbytes]
    assert len(dumped.stream) < 10_000
    _assert_same_array(wire.load(dumped.stream, dumped.buffers)(), times)


def test_function_by_value_keeps_its_file():
    """A traceback through a pickled lambda, and one inside, shows file and source."""
    func = _there_and_back(lambda: sorted([0], key=lambda x: 1 / x))
    with pytest.raises(ZeroDivisionError) as caught:
        func()
    outer, inner = traceback.extract_tb(caught.tb)[-2:]
    assert (outer.filename, inner.filename) == (__file__, __file__)
    assert outer.line == inner.line
    assert "1 / x" in inner.line


@pytest.fixture
def own(monkeypatch):
    """Yield a class, an inner class and a function that only this process has."""

    class Own:
        class Inner:
            """Pickled by a name with a dot."""

    def func(x):
        return x

    main = sys.modules["__main__"]
    with monkeypatch.context() as patch:
        for thing, name in ((Own, "Own"), (Own.Inner, "Own.Inner"), (func, "func")):
            thing.__module__, thing.__qualname__ = "__main__", name
        patch.setattr(main, "Own", Own, raising=False)
        patch.setattr(main, "func", func, raising=False)
        yield Own, Own.Inner, func


@pytest.mark.parametrize(
    "make",
    [
        lambda own, inner, func: own,
        lambda own, inner, func: [own(), own()],
        lambda own, inner, func: (inner, own, inner()),
        lambda own, inner, func: {"func": func, "Own": own},
        # Its module's name is a text that was met before; so is its own.
        lambda own, inner, func: [own.__module__, own.__qualname__, own],
        lambda own, inner, func: [*map(str, range(300)), own.__module__, own, own()],
    ],
)
def test_what_is_of_the_main_module_travels_by_value(own, make, monkeypatch):
    """Another process has another main module, or none."""
    value = make(*own)
    dumped = wire.dump(value)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "__main__", None)
        loaded = wire.load(dumped.stream, dumped.buffers)
    assert type(loaded) is type(value)


def test_it_is_found_wherever_frames_end(own):
    """A long pickle is cut into frames, also amid the name of a class."""
    cls = own[0]
    for n in range(2**16 - 60, 2**16 + 10):
        for value in ([b"x" * 200, "x" * n, cls], ["__main__", "Own", "x" * n, cls]):
            assert wire._refers_to_here(pickle.dumps(value, 5))


def test_mere_mention_of_the_main_module_costs_nothing(monkeypatch):
    """Texts about Python are full of it."""
    monkeypatch.setitem(sys.modules, "cloudpickle", None)  # an import would fail
    for value in (["__main__"], {"__main__": 1}, ["see __main__", np.zeros(2)]):
        dumped = wire.dump(value)
        assert str(wire.load(dumped.stream, dumped.buffers)) == str(value)


def test_long_text_and_many_numbers_survive():
    """What pickle keeps in its stream is large too, and comes back."""
    value = {"text": "ü" * 500_000, "bytes": b"x" * 500_000, "n": list(range(200_000))}
    assert _there_and_back(value) == value


class _Nest:
    """Pickled by a dump of its own, as containers of ours are."""

    def __init__(self, inside):
        self.inside = inside

    def __reduce__(self):
        dumped = wire.dump(self.inside)
        return wire.load, (dumped.stream, [buffer.raw() for buffer in dumped.buffers])


def test_one_dump_within_another():
    """They don't write into the same memory."""
    inside = ["in" * 1_000, 1]
    value = ["before" * 1_000, _Nest([_Nest(inside), "x" * 100_000]), "after" * 1_000]
    for _ in range(2):
        loaded = _there_and_back(value)
        assert loaded == [value[0], [inside, "x" * 100_000], value[2]]


def test_dumps_one_after_the_other():
    """A long one leaves nothing in a short one, nor does one that failed."""
    lock = threading.Lock()
    for n in (10, 100_000, 10, 3_000_000, 10):
        text = "x" * n
        first, second = wire.dump(text), wire.dump([text, 1])
        with pytest.raises(UnpicklableError):
            wire.dump([text, lock])
        assert wire.load(first.stream, []) == text
        assert wire.load(second.stream, []) == [text, 1]
        assert pickle_plain([n]) == pickle.dumps([n], 5)


def test_dumps_in_several_threads():
    """Each thread has memory of its own."""
    with ThreadPoolExecutor(4) as executor:
        values = [[str(i) * 20_000, i] for i in range(200)]
        assert list(executor.map(_there_and_back, values)) == values


def test_unpicklable_capture_is_named():
    """The error names the captured variable that can't be pickled."""
    lock = threading.Lock()
    with pytest.raises(UnpicklableError, match=r"function .*<lambda> .* \.lock \(lock"):
        wire.dump(lambda: lock)


def test_raising_reducer_is_reported():
    """A class whose own pickling raises is reported with its error, not swallowed."""

    class Broken:
        def __reduce__(self):
            msg = "no way"
            raise ZeroDivisionError(msg)

    with pytest.raises(UnpicklableError, match="ZeroDivisionError: no way") as caught:
        wire.dump([Broken()])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert isinstance(caught.value, TypeError)


def test_no_memory_is_reported():
    """A MemoryError while pickling becomes an error that names the object."""

    class Huge:
        def __reduce__(self):
            raise MemoryError

    with pytest.raises(NoRoomError, match="list of length 1"):
        wire.dump([Huge()])


def test_users_copyreg_has_precedence():
    """A reducer that the user registered for a class is the one that is used."""
    import copyreg

    class Thing:
        pass

    copyreg.pickle(Thing, lambda thing: (str, ("reduced",)))
    try:
        assert _there_and_back([Thing()]) == ["reduced"]
    finally:
        del copyreg.dispatch_table[Thing]


def test_dump_without_numpy_loaded(monkeypatch):
    """Nothing is imported to pickle plain objects."""
    monkeypatch.setitem(sys.modules, "numpy", None)
    monkeypatch.setitem(sys.modules, "pandas", None)
    dumped = wire.dump([1, 2])
    assert wire.load(dumped.stream, dumped.buffers) == [1, 2]
