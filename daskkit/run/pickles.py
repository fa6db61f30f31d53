"""One exception to a pickle that has been tried, and back.

Part of `run`. What the exception is linked to, its notes and its traceback are the
matter of `exceptions`. Code of the exception's class runs in `pack`, `unpack` and
`text_of`, and may do anything; in the other functions none does.
"""

from __future__ import annotations

import copyreg
import functools
import io
import pickle
import types
from typing import TYPE_CHECKING, Any, NamedTuple

from daskkit.transport import wire
from daskkit.transport.errors import UnpicklableError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "Body",
    "class_name",
    "cut",
    "is_harmless",
    "members_of",
    "pack",
    "read_field",
    "reason_of",
    "text_of",
    "unpack",
    "write_field",
]

#: A pickle and its buffers.
Body = tuple[bytes, list[bytes | bytearray]]

# An argument above the first length is cut to the second, in characters.
_HUGE_TEXT = 100_000
_CUT_TEXT = 10_000
# The reason why an exception can't travel, in characters.
_LONGEST_REASON = 300
# Arguments that run no code of a user's.
_HARMLESS = (bool, bytes, float, int, str, types.NoneType)

# Python's own accessors: a class can't put its own in their place, so they run none of
# its code, and work where it forbids assignment (frozen dataclasses).
_FIELDS = vars(BaseException)
_GROUP_FIELDS = vars(BaseExceptionGroup)
_TYPE_FIELDS = vars(type)


class _Link(NamedTuple):
    """Stands for a member of a group in what is pickled of the group."""

    position: int


class _Shell:
    """Is pickled as an exception: by what the exception's own `__reduce__` said.

    The global table of reducers comes before `__reduce__`, and distributed puts tblib's
    into it, which recurse into causes and along tracebacks until Python gives up.
    """

    __slots__ = ("reduced",)

    def __init__(self, reduced: tuple[Any, ...]) -> None:
        self.reduced = reduced

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


class _Parts(NamedTuple):
    """An exception taken apart, to be rebuilt without its own ``__init__``."""

    cls: type[BaseException]
    # For the built-in class below it.
    init_args: tuple[Any, ...]
    args: tuple[Any, ...]
    state: dict[str, Any]


class _Unpickler(pickle.Unpickler):
    """Leaves classes that are already there as they are.

    A class pickled by value is recognised where it came from, but cloudpickle 3.1 sets
    all its attributes again: the methods of a class in the caller's ``__main__`` would
    be replaced by copies that don't see the caller's global variables.
    """

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if name == "_class_setstate":
            return functools.partial(_set_up_once, found)
        return found


def _set_up_once(set_up: Callable[[Any, Any], Any], cls: Any, state: Any) -> Any:
    """Fill a class that cloudpickle has made, unless it was there before."""
    if set(state[0]) <= set(vars(cls)):
        return cls
    return set_up(cls, state)


# --- What can be had of an exception whatever its class is. ---


def read_field(error: BaseException, name: str) -> Any:
    """Return an attribute that all exceptions have, such as ``__cause__``."""
    return _FIELDS[name].__get__(error)


def write_field(error: BaseException, name: str, value: object) -> None:
    """Set an attribute that all exceptions have."""
    _FIELDS[name].__set__(error, value)


def members_of(error: BaseException) -> tuple[BaseException, ...]:
    """Return the members of a group; none for other exceptions."""
    # Not isinstance: it asks the class, where the type says no.
    if not issubclass(type(error), BaseExceptionGroup):
        return ()
    members: tuple[BaseException, ...] = _GROUP_FIELDS["exceptions"].__get__(error)
    return members


def class_name(error: BaseException) -> str:
    """Return module and name of a class, without the module for a built-in one."""
    return type.__repr__(type(error)).removeprefix("<class '").removesuffix("'>")


def text_of(error: BaseException) -> str:
    """Return ``str(error)`` as an exact string, whatever the class makes of it."""
    for as_text in (str, BaseException.__str__):
        try:
            return str.__str__(as_text(error))
        except BaseException:  # noqa: BLE001, S112 - the class may raise SystemExit, too
            continue
    return "<text can't be had>"


def reason_of(error: BaseException) -> str:
    """Return why pickling failed, in one line."""
    if issubclass(type(error), UnpicklableError) and error.__cause__ is not None:
        error = error.__cause__  # the rest of its message is advice on something else
    text = " ".join(f"{class_name(error)}: {text_of(error)}".split())
    if len(text) > _LONGEST_REASON:
        text = text[: _LONGEST_REASON - 3] + "..."
    return text


def cut(text: str) -> str:
    """Return a text, or the beginning of a huge one."""
    if len(text) <= _HUGE_TEXT:
        return text
    return f"{text[:_CUT_TEXT]}... [cut, of {len(text):,} characters]"


def is_harmless(error: BaseException) -> bool:
    """Return whether an exception runs no code but Python's own when it is pickled."""
    if type(error) is not _built_in(type(error)):
        return False
    attributes = read_field(error, "__dict__")
    if type(attributes) is not dict:
        return False
    values = [*read_field(error, "args"), *attributes.values()]
    notes = attributes.get("__notes__")
    if type(notes) is list:
        values = [value for value in values if value is not notes] + notes
    # By identity: a metaclass may have an __eq__ and a __hash__ of its own.
    return all(any(type(value) is kind for kind in _HARMLESS) for value in values)


# --- To a pickle. ---


def pack(
    error: BaseException, members: Sequence[BaseException], late: threading.Event
) -> tuple[Body | None, str]:
    """Return a pickle that has been tried, or None and why there is none.

    One whose copy says the same is best. Many classes give ``super().__init__`` a text
    that they have made of their arguments; those are rebuilt with that text in the
    place of an argument, and say it twice.

    Parameters
    ----------
    error : BaseException
        It isn't changed.
    members : sequence of BaseException
        Of a group, those that it shall have when it arrives; none otherwise.
    late : threading.Event
        Once it is set no other way is tried.

    Returns
    -------
    body : Body or None
        For `unpack`.
    reason : str
        Empty where there is a body.
    """
    ways: list[Callable[[], Any]] = [functools.partial(_take_apart, error, members)]
    if not members:
        ways.insert(0, functools.partial(_reduce, error))
    text, second, reasons = text_of(error), None, []
    for take in ways:
        try:
            body = _dump(take())
            copy = unpack(body, members)
        except BaseException as failed:  # noqa: BLE001 - also SystemExit, see text_of
            reasons.append(reason_of(failed))
        else:
            if type(copy) is not type(error):
                reasons.append(f"its pickle makes a {type(copy).__name__} of it")
            elif text_of(copy) == text:
                return body, ""
            else:
                second = second or body
        if late.is_set():
            return None, ""
    if second is not None:
        return second, ""
    return None, next(_culprits(error), reasons[0])


def _culprits(error: BaseException) -> Iterator[str]:
    """Yield which arguments and attributes can't be pickled, and why."""
    args = enumerate(read_field(error, "args"))
    places = [(f"its argument {i}", value) for i, value in args]
    attributes = read_field(error, "__dict__").items()
    places += [(f"its attribute {key!r}", value) for key, value in attributes]
    for place, value in places:
        try:
            wire.dump(value)
        except BaseException as failed:  # noqa: BLE001 - also SystemExit, see text_of
            yield f"{place} can't be pickled: {reason_of(failed)}"


def _dump(value: Any) -> Body:
    dumped = wire.dump(value)
    return dumped.stream, [wire.copy_buffer(buffer.raw()) for buffer in dumped.buffers]


def _reduce(error: BaseException) -> Any:
    """Return what is pickled as an exception says itself."""
    reducer = copyreg.dispatch_table.get(type(error))
    if reducer is None or reducer.__module__ == "tblib.pickling_support":
        reduced = error.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    else:
        reduced = reducer(error)
    if not isinstance(reduced, tuple):
        return error  # the name of a global variable, or a mistake
    make, args, *more = reduced
    args, huge = _cut_args(args)
    if more and type(more[0]) is dict:
        more[0] = _cut_state(more[0], huge)
    return _Shell((make, args, *more))


def _take_apart(error: BaseException, members: Sequence[BaseException]) -> _Parts:
    """Return the parts of which an exception can be rebuilt without its methods."""
    cls = type(error)
    reduced: Any = _built_in(cls).__reduce__(error)
    init_args, state = reduced[1], dict((reduced[2:] and reduced[2]) or {})
    args, huge = _cut_args(read_field(error, "args"))
    if members:
        message = _GROUP_FIELDS["message"].__get__(error)
        links = {id(member): _Link(i) for i, member in enumerate(members)}
        init_args = (message, [links[id(member)] for member in members])
        args = _replace(args, lambda value: links.get(id(value), value))
    state = _cut_state(state | _slots(error), huge)
    return _Parts(cls, _cut_args(init_args)[0], args, state)


def _built_in(cls: type[BaseException]) -> type[BaseException]:
    """Return the nearest base that is written in C, whose methods are no user's."""
    is_made_by_python = 1 << 9  # Py_TPFLAGS_HEAPTYPE
    flags = _TYPE_FIELDS["__flags__"].__get__
    return next(base for base in _mro(cls) if not flags(base) & is_made_by_python)


def _mro(cls: type) -> tuple[type[Any], ...]:
    bases: tuple[type[Any], ...] = _TYPE_FIELDS["__mro__"].__get__(cls)
    return bases


def _slots(error: BaseException) -> dict[str, Any]:
    """Return the values of `__slots__`, which `BaseException.__reduce__` forgets."""
    found = {}
    bases = _mro(type(error))
    for cls in bases[: bases.index(_built_in(type(error)))]:
        for name, slot in vars(cls).items():
            if isinstance(slot, types.MemberDescriptorType):
                try:
                    found[name] = slot.__get__(error)
                except AttributeError:  # never set
                    continue
    return found


def _replace(args: tuple[Any, ...], one: Callable[[Any], Any]) -> tuple[Any, ...]:
    """Return arguments with ``one(value)`` for each, in lists and tuples as well."""

    def replace(value: Any) -> Any:
        if type(value) is list or type(value) is tuple:
            return type(value)(map(one, value))
        return one(value)

    return tuple(map(replace, args))


def _cut_args(args: Any) -> tuple[Any, list[str]]:
    """Return arguments with the huge texts cut, and the huge texts."""
    if type(args) is not tuple:
        return args, []
    huge = [arg for arg in args if type(arg) is str and len(arg) > _HUGE_TEXT]
    return tuple(cut(arg) if type(arg) is str else arg for arg in args), huge


def _cut_state(state: dict[str, Any], huge: list[str]) -> dict[str, Any]:
    """Return attributes with the texts cut that are cut as arguments, too."""
    return {
        key: cut(value) if type(value) is str and value in huge else value
        for key, value in state.items()
    }


# --- And back. ---


def unpack(body: Body, members: Sequence[BaseException]) -> BaseException:
    """Return the exception in a pickle, as yet without links, notes and traceback.

    Parameters
    ----------
    body : Body
        From `pack`.
    members : sequence of BaseException
        In the order in which `pack` had them.

    Returns
    -------
    BaseException

    Raises
    ------
    BaseException
        Whatever code of the class raises.
    """
    stream, buffers = body
    loaded = _Unpickler(io.BytesIO(stream), buffers=buffers).load()
    if type(loaded) is _Parts:
        return _put_together(loaded, members)
    if not issubclass(type(loaded), BaseException):
        msg = f"its pickle makes a {type(loaded).__name__} of it"
        raise TypeError(msg)
    error: BaseException = loaded
    return error


def _put_together(parts: _Parts, members: Sequence[BaseException]) -> BaseException:
    def resolve(value: Any) -> Any:
        return members[value.position] if type(value) is _Link else value

    built_in = _built_in(parts.cls)
    init_args = _replace(parts.init_args, resolve)
    error = built_in.__new__(parts.cls, *init_args)
    # Where a class has an __init__ of its own, OSError reads its arguments only here.
    built_in.__init__(error, *init_args)
    write_field(error, "args", _replace(parts.args, resolve))
    for name, value in parts.state.items():
        object.__setattr__(error, name, value)
    return error
