"""Running the tools of `make MPI=1` under mpirun, on this machine and with more ranks than it has processors."""
import atexit
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import pytest
from cli_util import BUILD, CI, ENV, ROOT

MPI_BUILD = ROOT / ("build/mpi" if BUILD.name == "release" else f"build/mpi-{BUILD.name}")
# Launchers that share a folder for their sockets remove it under each other.
SESSIONS = tempfile.mkdtemp(prefix="mpi-")
atexit.register(shutil.rmtree, SESSIONS, ignore_errors=True)
# As root in a container, without its network: shared memory, or what stands in for it where that is not allowed.
MPI_ENV = dict(ENV, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_rmaps_base_oversubscribe="1",
               OMPI_MCA_hwloc_base_binding_policy="none", OMPI_MCA_btl="self,vader",
               OMPI_MCA_btl_vader_single_copy_mechanism="none", OMPI_MCA_plm_rsh_agent="false",
               OMPI_MCA_orte_tmpdir_base=SESSIONS, MIDISIM_THREADS="1")


def need_mpi():
    """Skip, or under CI fail, where there is no mpirun or the tools are not built."""
    what = None
    if not shutil.which("mpirun"):
        what = "no mpirun: scripts/setup.sh test"
    elif not (MPI_BUILD / "midisim-search").exists():
        what = f"{MPI_BUILD} is not built: make MPI=1"
    if what:
        (pytest.fail if CI else pytest.skip)(what)


def command(ranks, name, *arguments, mca=()):
    options = [word for key, value in mca for word in ("--mca", key, value)]
    return ["mpirun", *options, "-np", str(ranks), str(MPI_BUILD / f"midisim-{name}"), *map(str, arguments)]


def mpirun(ranks, name, *arguments, cwd=None, stdin=b"", env=None, limit=120, mca=()):
    """As cli_util.run, on several ranks."""
    return subprocess.run(command(ranks, name, *arguments, mca=mca), cwd=cwd, input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=dict(MPI_ENV, **(env or {})), timeout=limit)


def ranks_of(launcher):
    """Processes of the ranks, in their order, by what the launcher told them."""
    found = {}
    for folder in pathlib.Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            name = os.readlink(folder / "exe")
            environment = dict(pair.split(b"=", 1) for pair in (folder / "environ").read_bytes().split(b"\0") if b"=" in pair)
            parent = int((folder / "stat").read_text().rsplit(") ", 1)[1].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if parent == launcher and "midisim-" in name and b"OMPI_COMM_WORLD_RANK" in environment:
            found[int(environment[b"OMPI_COMM_WORLD_RANK"])] = int(folder.name)
    return [found[rank] for rank in sorted(found)]


def wait_for_ranks(launcher, count):
    for _ in range(600):
        if len(ranks := ranks_of(launcher)) == count:
            return ranks
        time.sleep(0.05)
    raise AssertionError("the ranks did not start")
