"""Which results are tried before they are sent."""

from __future__ import annotations

import copyreg
import dataclasses
import enum
import os
import pickle
import time
from collections import Counter, OrderedDict, namedtuple
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from daskkit.transport import wire
from daskkit.transport.auto import unpack
from daskkit.transport.trial import Trial, has_own_rebuild, name_types, try_first


class Plain:
    pass


class Slotted:
    __slots__ = ("a",)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    a: int


class Point(NamedTuple):
    x: int


Pair = namedtuple("Pair", "a b")  # noqa: PYI024 - the older kind


class Colour(enum.Enum):
    RED = 1


class List(list):
    pass


class Error(ValueError):
    pass


class OwnState:
    n_rebuilt = 0

    def __getstate__(self):
        return {"a": 1}

    def __setstate__(self, state):
        OwnState.n_rebuilt += 1


class Child(OwnState):
    pass


class OwnReduce:
    def __reduce__(self):
        return os.getpid, ()


class OwnNew:
    def __new__(cls):
        return super().__new__(cls)


class OwnList(list):
    def append(self, value):
        super().append(value)


class OwnDict(dict):
    def __setitem__(self, key, value):
        super().__setitem__(key, value)


class OwnError(ValueError):
    def __init__(self, text):
        super().__init__(text)


class OwnArray(np.ndarray):
    def __array_finalize__(self, other):
        pass


class Registered:
    pass


@pytest.mark.parametrize(
    "cls",
    [
        *(int, Fraction, Counter, OrderedDict, np.float64, np.ndarray, pd.Timestamp),
        *(Plain, Slotted, Frozen, Point, Pair, Colour, List, Error),
    ],
)
def test_known_to_be_harmless(cls):
    """Python's types, those of libraries, and those that leave it to these."""
    assert not has_own_rebuild(cls)


@pytest.mark.parametrize(
    "cls",
    [OwnState, Child, OwnReduce, OwnNew, OwnList, OwnDict, OwnError, OwnArray],
)
def test_has_code_of_its_own(cls):
    """It may do anything."""
    assert has_own_rebuild(cls)


def test_registered_reducer(monkeypatch):
    """One of `copyreg` counts as code of the type's own."""
    table = {**copyreg.dispatch_table, Registered: lambda _: (os.getpid, ())}
    monkeypatch.setattr(copyreg, "dispatch_table", table)
    assert has_own_rebuild(Registered)
    with wire.noted_types() as types:
        dumped = wire.dump([Registered()])
    assert Registered in types
    assert wire.load(dumped.stream, dumped.buffers) == [os.getpid()]


@pytest.mark.parametrize(
    "value", [[Child(), {"a": Plain()}], (Fraction(1, 2), List([1]))]
)
def test_noting_changes_nothing(value):
    """The pickle is the same byte for byte, and all types are noted at any depth."""
    plain = wire.dump(value).stream
    with wire.noted_types() as types:
        assert wire.dump(value).stream == plain
        wire.dump([lambda: value])  # by cloudpickle
    assert types >= {Child, Plain} or types >= {Fraction, List}
    assert pickle.loads(plain)


def test_trial_is_made_once_where_it_is_dear():
    """The first time, and again only where it takes little beside the items."""
    trial, told = Trial(), []
    OwnState.n_rebuilt = 0

    def pack(items_s, value):
        return unpack(trial.pack(value, None, items_s, told.append))

    pack(0.0, [1, 2.0, "x", np.ones(3), Plain()])
    assert told == []
    pack(0.0, [OwnState()])
    assert told == ["tests.test_trial.OwnState"]
    assert OwnState.n_rebuilt == 2  # once to try
    trial._byte_s = 1.0
    pack(0.0, [OwnState()])
    assert len(told) == 1
    pack(0.0, [OwnState(), Child()])  # a new type
    assert len(told) == 2
    pack(1e9, [OwnState()])
    assert len(told) == 3


def test_trial_that_fails_is_left_to_the_caller():
    """What is raised there is not raised here."""
    packed = Trial().pack([Raises()], None, 0.0, lambda _: None)
    with pytest.raises(SystemExit):
        unpack(packed)
    try_first([Raises(), 1])


class Raises:
    def __getstate__(self):
        return {"at": time.time()}

    def __setstate__(self, state):
        raise SystemExit


def test_names_of_many_types():
    """Three are enough."""
    names = name_types({int, str, float, bytes, bool})
    assert names == "builtins.bool, builtins.bytes, builtins.float and 2 more"
