"""What the tests of an installation share: what belongs to one, and how it is made."""
import os
import re
import subprocess

import golden_util as g
from cli_util import TOOLS

CONFIG = g.BUILD.name
VERSION = re.search(r'^#define MSIM_VERSION "(.*)"', (g.ROOT / "include/midisim.h").read_text(), re.M)[1]
ABI = re.search(r"#define MSIM_ABI (\d+)", (g.ROOT / "include/midisim.h").read_text())[1]
DOC = "share/doc/midisim"
EXPECTED = {"include/midisim.h", "lib/libmidisim.a", f"lib/libmidisim.so.{VERSION}", "lib/libmidisim.so",
            f"lib/libmidisim.so.{ABI}", "lib/pkgconfig/midisim.pc", "share/man/man7/midisim.7",
            "share/midisim/default.whiten",
            *(f"share/midisim/fetch/{name}" for name in ("fetch.py", "hub.py", "SHA256SUMS")),
            *(f"{DOC}/{name}" for name in ("LICENSE", "README.md", "CHANGELOG.md", "weights/README.md"))}
EXPECTED |= {f"{DOC}/{p.relative_to(g.ROOT)}" for pattern in ("docs/*.md", "docs/guide/*.md", "docs/*.png", "examples/*.c",
                                                                   "examples/slurm/*.sh")
             for p in g.ROOT.glob(pattern)}
for name in ("midisim", *(f"midisim-{t}" for t in TOOLS)):
    EXPECTED |= {f"bin/{name}", f"share/man/man1/{name}.1", f"share/bash-completion/completions/{name}",
                 f"share/zsh/site-functions/_{name}", f"share/fish/vendor_completions.d/{name}.fish"}
if g.WEIGHTS.exists():
    EXPECTED.add("share/midisim/midisim-small.safetensors")


def make(*arguments):
    # CC, CFLAGS and the like of an outer make come along in the environment; its job server must not.
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = subprocess.run(["make", "-s", f"CONFIG={CONFIG}", *arguments], cwd=g.ROOT, env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


def files(root):
    return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() or p.is_symlink()}
