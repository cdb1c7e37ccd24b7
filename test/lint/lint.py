#!/usr/bin/env python3
"""Checks of the tree itself: who includes and calls whom, names, layout, sizes, documents. Standard library only.

  lint.py [--config release] [--root FOLDER] [--only CHECK,...] [--list]

Prints 'ok CHECK', 'skip CHECK: why' or 'FAIL CHECK: what' lines. Checks that need the build (calls, symbols, options in
man pages) look at build/CONFIG. A rule that can be broken by adding one line lives here, with the reason beside it, and
test/scripts/test_lint.py has a sample that breaks it. One file here is one subject of checks.
"""
import argparse
import pathlib
import subprocess
import sys

sys.dont_write_bytecode = True
import documents
import layout
import modules
import programs
import sources
from tree import Skip, Tree

CHECKS = {check.__name__[len("check_"):]: check
          for subject in (modules, sources, layout, documents, programs) for check in subject.CHECKS}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="release")
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parents[2])
    parser.add_argument("--only", default=",".join(CHECKS))
    parser.add_argument("--list", action="store_true", help="print the names of the checks")
    args = parser.parse_args()
    if args.list:
        print("\n".join(CHECKS))
        return 0
    tree, bad = Tree(args.root, args.config), 0
    for name in args.only.split(","):
        try:
            found = list(CHECKS[name](tree))
        except Skip as reason:
            print(f"skip {name}: {reason}")
            continue
        except (OSError, subprocess.CalledProcessError) as error:
            found = [str(error)]
        for line in found:
            print(f"FAIL {name}: {line}")
        if not found:
            print(f"ok {name}")
        bad += len(found)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
