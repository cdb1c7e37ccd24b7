"""The shared library: where it is, how its functions are called, and how calls end early.

`call` is for everything that is over at once. `call_long` is for calls that take time: the library runs on a thread of its own
while the calling thread waits, so that Ctrl-C is noticed at once. The library is told through its callbacks, and the
KeyboardInterrupt is raised when the call has come back. ctypes releases the GIL in both.
"""
from __future__ import annotations

import _thread
import ctypes
import os
import pathlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

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
    return lib


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
    for name, value in fields.items():
        setattr(struct, name, value)
    return struct


def defaults(kind: type[ctypes.Structure], **fields: Any) -> Any:
    """A struct of options: the library's defaults, and these fields. A field that is None keeps its default."""
    struct = sized(kind)
    getattr(lib, f"{kind.__name__}_init")(ctypes.byref(struct))
    for name, value in fields.items():
        if value is not None:
            setattr(struct, name, value)
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


def several(given: Any) -> list[Any]:
    """One path or name, or a sequence of them, as a list."""
    return [given] if isinstance(given, (str, bytes, os.PathLike)) else list(given)


def text_of(raw: bytes) -> str:
    """A name or path of the library as Python's own functions take it."""
    return raw.decode("utf-8", "surrogateescape")


def paths_array(paths: list[bytes]) -> Any:
    """A C array of texts."""
    return (ctypes.c_char_p * max(len(paths), 1))(*paths)
