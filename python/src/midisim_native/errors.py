"""What can go wrong: one exception for each status of the library.

Every exception has the library's one line as its text, and `status`, the word for it ("format", "io", ...). The classes also
derive from the built-in exception that is closest, so `except ValueError` or `except OSError` work too.
"""
from __future__ import annotations

from . import _abi

__all__ = ["ArgumentError", "DeviceError", "EmptyError", "FileError", "ForkError", "FormatError", "LimitError", "MidisimError",
           "NoMemoryError", "StoppedError", "UnsupportedError"]


class MidisimError(Exception):
    """The base of all exceptions of this package."""

    status = "error"


class ArgumentError(MidisimError, ValueError):
    """An argument is out of its range or contradicts another."""

    status = "argument"


class FileError(MidisimError, OSError):
    """The operating system refused to open, read or write a file."""

    status = "io"


class FormatError(MidisimError, ValueError):
    """A file is damaged or not of the format that it should be."""

    status = "format"


class LimitError(MidisimError, ValueError):
    """Something is larger than what it was given to was made for."""

    status = "limit"


class NoMemoryError(MidisimError, MemoryError):
    """The library ran out of memory."""

    status = "memory"


class DeviceError(MidisimError, RuntimeError):
    """A device is absent or failed."""

    status = "device"


class UnsupportedError(MidisimError, NotImplementedError):
    """Well-formed, but not something that this build or this machine does."""

    status = "unsupported"


class EmptyError(MidisimError, ValueError):
    """There is nothing in it: a MIDI file without usable notes, for one."""

    status = "empty"


class StoppedError(MidisimError):
    """A callback of the caller asked to stop."""

    status = "stopped"


class ForkError(MidisimError, RuntimeError):
    """This process was forked while another thread was inside the library: nothing can be done here any more."""

    status = "fork"


_OF_STATUS: dict[int, type[MidisimError]] = {
    _abi.MSIM_E_ARG: ArgumentError, _abi.MSIM_E_IO: FileError, _abi.MSIM_E_FORMAT: FormatError, _abi.MSIM_E_LIMIT: LimitError,
    _abi.MSIM_E_MEMORY: NoMemoryError, _abi.MSIM_E_DEVICE: DeviceError, _abi.MSIM_E_UNSUPPORTED: UnsupportedError,
    _abi.MSIM_E_EMPTY: EmptyError, _abi.MSIM_E_STOPPED: StoppedError}


def of_status(rc: int, text: str) -> MidisimError:
    """The exception for a negative return code and the library's line."""
    return _OF_STATUS.get(-rc, MidisimError)(text or f"the library failed with status {-rc}")
