"""Puts the library that make builds into the wheel, which then serves every Python 3 on this platform.

MIDISIM_LIBRARY names a library that is built already, MIDISIM_NOTICES a text with the licences of what is linked into that
library: packaging/wheel.sh sets both.
"""
from __future__ import annotations

import os
import pathlib
import platform
import subprocess
import sys
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAME = "libmidisim.so.1"


def built() -> pathlib.Path:
    """The library in the build tree, brought up to date."""
    try:
        subprocess.run(["make", f"-j{os.cpu_count() or 1}", f"build/release/{NAME}"], cwd=ROOT, check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"midisim_native: make cannot build {NAME} ({error}). It needs make, gcc 12 or later, zlib, cJSON and "
                         "OpenSSL's libcrypto with their headers; scripts/setup.sh installs them on Debian and Ubuntu") from None
    return ROOT / "build" / "release" / NAME


class Hook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the library, and say which platform the wheel is for. An editable install takes the library of the build tree."""
        if sys.platform != "linux" or platform.machine() != "x86_64":
            raise SystemExit(f"midisim_native runs on x86-64 Linux, not on {sys.platform} {platform.machine()}")
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-linux_x86_64"
        library = os.environ.get("MIDISIM_LIBRARY") or built()
        if version != "editable":
            build_data["force_include"][str(library)] = f"midisim_native/{NAME}"
            if notices := os.environ.get("MIDISIM_NOTICES"):
                build_data["force_include"][notices] = "midisim_native/NOTICES.txt"
