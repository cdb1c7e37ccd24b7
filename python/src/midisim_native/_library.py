"""The shared library: where it is, how its functions are called, and how calls end early.

`call` is for everything that is over at once. `call_long` is for calls that take time: the library runs on a thread of its own
while the calling thread waits, so that Ctrl-C is noticed at once. The library is told through its callbacks, and the
KeyboardInterrupt is raised when the call has come back. ctypes releases the GIL in both.
"""
from __future__ import annotations

import _thread
import ctypes
import operator
import os
import pathlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _abi
from .errors import ArgumentError, ForkError, of_status

FILE = f"libmidisim.so.{_abi.MSIM_ABI}"


def _load() -> ctypes.CDLL:
    """The library that MIDISIM_LIBRARY names, the one in the package, the one that make has built where the package lies in a
    checkout, or the one that is installed."""
    named, here = os.environ.get("MIDISIM_LIBRARY"), pathlib.Path(__file__).resolve()
    inside, built = here.with_name(FILE), here.parents[3] / "build" / "release" / FILE
    path = named or next((str(found) for found in (inside, built) if found.exists()), FILE)
    try:
        lib = ctypes.CDLL(path)
    except OSError as error:
        raise ImportError(f"midisim_native: cannot load {path}: {error}. It needs x86-64 Linux, and {FILE} in the package, "
                          "where the linker looks (make install), or named by MIDISIM_LIBRARY") from error
    for name, (result, arguments) in _abi.FUNCTIONS.items():
        try:
            function = getattr(lib, name)
        except AttributeError:
            raise ImportError(f"midisim_native: {path} has no {name}: the package needs libmidisim "
                              f"{_abi.MSIM_VERSION}") from None
        function.restype, function.argtypes = result, arguments
        setattr(lib, name, _guarded(function, arguments))
    return lib


# ---- Values that ctypes takes too readily ---------------------------------------------------------------------------


def _range_of(kind: Any) -> tuple[int, int]:
    bits, is_signed = 8 * ctypes.sizeof(kind), kind(-1).value < 0
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)


_RANGES = {kind: _range_of(kind) for kind in (ctypes.c_int8, ctypes.c_uint8, ctypes.c_int16, ctypes.c_uint16, ctypes.c_int32,
                                              ctypes.c_uint32, ctypes.c_int64, ctypes.c_uint64)}


def _fitting(kind: Any, value: Any, what: str) -> Any:
    """A value for a parameter or field of this type. ctypes would cut an integer off that does not fit, refuse those of NumPy,
    and give a pointer to wide characters for a str. Raises TypeError, or ArgumentError for an integer that does not fit."""
    if kind is ctypes.c_void_p:
        if isinstance(value, str):
            raise TypeError(f"{what}expected bytes, got str")
        return value
    if kind not in _RANGES or isinstance(value, (kind, ctypes.Array)):
        return value
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{what}expected an integer, got {type(value).__name__}") from None
    low, high = _RANGES[kind]
    if not low <= number <= high:
        raise ArgumentError(f"{what}expected {low}..{high}, got {number}")
    return number


def _guarded(function: Callable[..., Any], kinds: tuple[Any, ...]) -> Callable[..., Any]:
    """A function of the library that looks at its arguments first."""
    checked = [(i, kind) for i, kind in enumerate(kinds) if kind is ctypes.c_void_p or kind in _RANGES]

    def call_it(*arguments: Any) -> Any:
        given = list(arguments)
        for i, kind in checked:
            given[i] = _fitting(kind, given[i], "")
        return function(*given)

    return call_it if checked else function


def set_fields(struct: Any, **fields: Any) -> None:
    """Set fields of a struct. Raises TypeError, or ArgumentError for an integer that does not fit."""
    kinds = {name: kind for name, kind, *_ in struct._fields_}
    for name, value in fields.items():
        setattr(struct, name, _fitting(kinds[name], value, f"{name}: "))


if sys.platform != "linux":
    raise ImportError(f"midisim_native runs on x86-64 Linux, not on {sys.platform}")
lib: Any = _load()


# ---- After fork -----------------------------------------------------------------------------------------------------

_inside = 0  # calls of all threads that are in the library and take time
_inside_lock = threading.Lock()
_is_lost = False  # forked while another thread was in the library


def _after_fork() -> None:
    global _inside, _inside_lock, _is_lost, _use_lock
    _is_lost = _is_lost or _inside > 0
    _inside, _inside_lock, _use_lock = 0, threading.Lock(), threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def _counted() -> Iterator[None]:
    global _inside
    with _inside_lock:
        _inside += 1
    try:
        yield
    finally:
        with _inside_lock:
            _inside -= 1


def check_fork() -> None:
    """Raise ForkError where the library cannot be used any more."""
    if _is_lost:
        raise ForkError("this process was forked while another thread was inside libmidisim; start workers before that, or "
                        "with the start method 'spawn'")


# ---- Handles in use -------------------------------------------------------------------------------------------------

_use_lock = threading.RLock()  # the collector may close a handle while this thread has it


class Pointer(ctypes.c_void_p):
    """A handle of the library, which is closed when nobody uses it any more: neither a call, nor a handle opened on it."""

    close_function = ""
    users = 0
    is_closing = False
    needs: tuple[Pointer, ...] = ()  # handles that this one was opened on

    def hold(self) -> None:
        """Count a user. Raises ValueError when it is closed."""
        with _use_lock:
            if self.is_closing:
                raise ValueError("this handle is closed")
            self.users += 1

    def release(self) -> None:
        """A user is done."""
        with _use_lock:
            self.users -= 1
            is_last = self.is_closing and self.users == 0
        if is_last:
            self._end()

    def close(self) -> None:
        """Close it now, or after its last user."""
        with _use_lock:
            is_last = not self.is_closing and self.users == 0
            self.is_closing = True
        if is_last:
            self._end()

    def _end(self) -> None:
        if self and not _is_lost:
            getattr(lib, self.close_function)(self)
        self.value = None
        needs, self.needs = self.needs, ()
        for pointer in needs:
            pointer.release()


@contextmanager
def used(pointers: Iterable[Pointer]) -> Iterator[None]:
    """Within it these handles stay open, whoever closes them."""
    held: list[Pointer] = []
    try:
        for pointer in pointers:
            pointer.hold()
            held.append(pointer)
        yield
    finally:
        for pointer in held:
            pointer.release()


# ---- Calls ----------------------------------------------------------------------------------------------------------


def sized(kind: type[ctypes.Structure], **fields: Any) -> Any:
    """A struct that begins with its size, with these fields."""
    struct: Any = kind()
    struct.size = ctypes.sizeof(kind)
    set_fields(struct, **fields)
    return struct


def defaults(kind: type[ctypes.Structure], **fields: Any) -> Any:
    """A struct of options: the library's defaults, and these fields. A field that is None keeps its default."""
    struct = sized(kind)
    getattr(lib, f"{kind.__name__}_init")(ctypes.byref(struct))
    set_fields(struct, **{name: value for name, value in fields.items() if value is not None})
    return struct


def callback(kind: type[ctypes.Structure], field: str, function: Callable[..., Any]) -> Any:
    """A function for a field of a struct of options. Whoever passes the struct keeps it."""
    types: dict[str, Any] = {name: what for name, what, *_ in kind._fields_}
    return types[field](function)


def call(name: str, *arguments: Any) -> int:
    """Call a function whose last argument is an msim_error. Returns what it returns, or raises its error. Handles that it was
    given stay open until it is over, whoever closes them meanwhile."""
    check_fork()
    error = _abi.msim_error()
    with used(argument for argument in arguments if isinstance(argument, Pointer)):
        rc: int = getattr(lib, name)(*arguments, ctypes.byref(error))
    if rc < 0:
        raise of_status(rc, error.text.decode("utf-8", "surrogateescape"))
    return rc


class Stop:
    """Whether a call should end, and the exception that a callback raised."""

    def __init__(self) -> None:
        self.is_set = False
        self.error: BaseException | None = None

    def asked(self, _user: Any = None) -> int:
        """As `should_stop` of the library: 1 to stop."""
        return int(self.is_set)

    def guard(self, function: Callable[..., Any], *arguments: Any) -> int:
        """Call a function of the user from a callback: 0 to go on, 1 to stop. False as its result asks to stop."""
        if self.is_set:
            return 1
        try:
            if function(*arguments) is False:
                self.is_set = True
        except BaseException as error:  # noqa: BLE001: whatever it is, it is raised again outside the library
            self.is_set, self.error = True, error
        return int(self.is_set)


def call_long(stop: Stop, name: str, *arguments: Any) -> int:
    """`call`, for a function that takes time and asks `stop` whether to go on."""
    if threading.current_thread() is not threading.main_thread():
        with _counted():
            return _finished(stop, lambda: call(name, *arguments))
    result: list[Any] = []
    done, claim = threading.Event(), threading.Lock()

    def work() -> None:
        if not claim.acquire(blocking=False):
            return  # started twice: Ctrl-C came between the start and the note of it
        try:
            result.append(call(name, *arguments))
        except BaseException as error:  # noqa: BLE001: raised again on the thread that called
            result.append(error)
        finally:
            done.set()

    with _counted():
        interrupt: BaseException | None = None
        is_started = False
        while not done.is_set():
            try:
                if not is_started:
                    _thread.start_new_thread(work, ())
                    is_started = True
                done.wait()
            except BaseException as error:  # noqa: BLE001: Ctrl-C, or what another signal handler raises
                stop.is_set, interrupt = True, error
    if interrupt is not None:
        raise interrupt

    def given() -> int:
        if isinstance(result[0], BaseException):
            raise result[0]
        return int(result[0])

    return _finished(stop, given)


def _finished(stop: Stop, function: Callable[[], int]) -> int:
    """The result; what a callback raised goes before what the library then said."""
    try:
        return function()
    finally:
        if stop.error is not None:
            error, stop.error = stop.error, None
            raise error


# ---- Handles --------------------------------------------------------------------------------------------------------


class Handle:
    """A handle of the library. It closes itself at the end of `with`, or when nothing refers to it any more."""

    _close = ""  # the function that closes it

    def __init__(self) -> None:
        self._pointer = self._new_pointer()
        self._lock = threading.RLock()
        self._pid = os.getpid()

    def _new_pointer(self) -> Pointer:
        pointer = Pointer()
        pointer.close_function = self._close
        return pointer

    def _open_on(self, *handles: Handle | None) -> None:
        """Keep what this handle is opened on until it is closed itself."""
        for handle in handles:
            if handle is not None:
                pointer = handle._handle
                pointer.hold()
                self._pointer.needs += (pointer,)

    @property
    def _handle(self) -> Pointer:
        if not self._pointer:
            raise ValueError(f"this {type(self).__name__} is closed")
        return self._pointer

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread at a time. A lock that some thread of the parent held is not waited for after fork."""
        if self._pid != os.getpid():
            self._lock, self._pid = threading.RLock(), os.getpid()
        with self._lock:
            yield

    def close(self) -> None:
        """Close it. Closing twice does nothing. What another thread is doing with it comes to its end."""
        pointer, self._pointer = self._pointer, self._new_pointer()
        pointer.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_pointer", None) is not None:
            self.close()


def path_bytes(path: str | os.PathLike[str] | bytes) -> bytes:
    """A path as the library takes it. Raises ArgumentError for one with a zero byte, which would end it."""
    coded = os.fsencode(path)
    if b"\0" in coded:
        raise ArgumentError(f"path: expected one without zero bytes, got {path!r}")
    return coded


def name_bytes(name: str, what: str) -> bytes:
    """A name or another text as the library takes it. Raises TypeError, or ArgumentError for one with a zero character, which
    would end it."""
    if not isinstance(name, str):
        raise TypeError(f"{what}: expected str, got {type(name).__name__}")
    if "\0" in name:
        raise ArgumentError(f"{what}: expected a text without zero characters, got {name!r}")
    return name.encode("utf-8", "surrogateescape")


def midi_bytes(midi: Any) -> bytes:
    """The bytes of a MIDI file. Raises TypeError for a path, which read_midi reads, and for anything else."""
    if isinstance(midi, (bytes, bytearray, memoryview)):
        return bytes(midi)
    raise TypeError(f"midi: expected the bytes of a MIDI file, got {type(midi).__name__}; read_midi(path) reads a file")


def integers(values: Any, what: str) -> npt.NDArray[np.int64]:
    """Integers [n] as an array. Raises TypeError for anything else, such as numbers that would be rounded."""
    given = np.asarray(values)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise TypeError(f"{what}: expected integers [n], got {given.dtype} {list(given.shape)}")
    return np.ascontiguousarray(given, np.int64)


def reals(values: Any, what: str) -> npt.NDArray[np.float32]:
    """Numbers as a C-contiguous array of f32: the array itself where it is one. Raises TypeError for others, such as complex
    ones, whose imaginary part would be lost."""
    given = np.asarray(values)
    if given.size and given.dtype.kind not in "fiub":
        raise TypeError(f"{what}: expected real numbers, got {given.dtype}")
    return np.ascontiguousarray(given, np.float32)


def check_replaced(path: Any) -> None:
    """Raise ArgumentError for an output in whose place something else lies than a .npy file: a MIDI file, say."""
    if not os.path.isfile(path) or os.path.getsize(path) == 0:
        return
    with open(path, "rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise ArgumentError(f"cannot replace {os.fsdecode(path)}: it is not a .npy file; name another file, or remove it")


def check_not_music(path: Any) -> None:
    """Raise ArgumentError for an output in whose place a MIDI file, an array or another known kind of file lies."""
    if not os.path.isfile(path):
        return
    with open(path, "rb") as file:
        start = file.read(512)
    kind = lib.msim_file_kind(start, len(start))
    if kind not in (_abi.MSIM_KIND_UNKNOWN, _abi.MSIM_KIND_EMPTY, _abi.MSIM_KIND_TEXT):
        name = lib.msim_file_kind_name(kind).decode()
        raise ArgumentError(f"cannot replace {os.fsdecode(path)}: it is {name}; name another file, or remove it")


def several(given: Any) -> list[Any]:
    """One path or name, or a sequence of them, as a list."""
    return [given] if isinstance(given, (str, bytes, os.PathLike)) else list(given)


def text_of(raw: bytes) -> str:
    """A name or path of the library as Python's own functions take it."""
    return raw.decode("utf-8", "surrogateescape")


def paths_array(paths: list[bytes]) -> Any:
    """A C array of texts."""
    return (ctypes.c_char_p * max(len(paths), 1))(*paths)
