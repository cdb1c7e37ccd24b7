#!/bin/sh
# Have what building (and, with "test", testing) needs, on Debian and Ubuntu.
#   scripts/setup.sh [build|test]
# Says nothing when everything is there. Otherwise installs packages through apt as root or through sudo without a
# password; where neither is possible it prints the line to type and stops. Python packages go into build/venv alone.
# CUDA is not installed: its compiler is NVIDIA's, and a build without it has everything but the kernels for GPUs.
set -eu
cd "$(dirname "$0")/.."
goal=${1:-build}
case $goal in
build | test) ;;
*) echo "usage: scripts/setup.sh [build|test]" >&2; exit 2 ;;
esac

missing=
need() { # PACKAGE COMMAND...: the package is missing when the command fails
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}
header() { # a header the compiler must find
    [ -n "$(command -v "${CC:-cc}")" ] || return 0 # the compiler is asked for by itself; then look again
    printf '#include <stddef.h>\n#include <stdarg.h>\n#include <setjmp.h>\n#include <stdint.h>\n#include <%s>\n' "$1" |
        ${CC:-cc} -E -x c - -o /dev/null
}

look() {
    missing=
    need build-essential sh -c 'command -v ${CC:-cc} && command -v ${CXX:-g++} && command -v make && command -v ld && command -v objcopy'
    need zlib1g-dev header zlib.h
    need libcjson-dev header cjson/cJSON.h
    need libssl-dev header openssl/evp.h
    need python3-venv python3 -c 'import venv, ensurepip'
    if [ "$goal" = test ]; then
        need libcmocka-dev header cmocka.h
        need libmicrohttpd-dev header microhttpd.h
        need pkgconf pkg-config --version
        need libopenmpi-dev sh -c 'mpicc --showme:version && mpicc --showme:compile'
        need openmpi-bin mpirun --version
    fi
}

look
if [ -n "$missing" ]; then
    [ "${missing#* build-essential}" = "$missing" ] || missing=" build-essential zlib1g-dev libcjson-dev libssl-dev python3-venv$(
        [ "$goal" = build ] || echo ' libcmocka-dev libmicrohttpd-dev pkgconf libopenmpi-dev openmpi-bin')"
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    line="${sudo:+sudo }apt-get install -y --no-install-recommends$missing"
    if ! command -v apt-get >/dev/null; then
        echo "setup: missing:$missing (Debian's names); install what your system calls them" >&2
        exit 1
    fi
    if [ -n "$sudo" ] && ! sudo -n true 2>/dev/null; then
        echo "setup: missing packages; neither root nor sudo without a password. Type:" >&2
        echo "    sudo apt-get update && $line" >&2
        exit 1
    fi
    echo "setup: $line" >&2
    as_root() { if [ -n "$sudo" ]; then sudo env DEBIAN_FRONTEND=noninteractive "$@"; else DEBIAN_FRONTEND=noninteractive "$@"; fi; }
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    # shellcheck disable=SC2086  # one word a package
    if ! { as_root apt-get update && as_root apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        echo "setup: apt failed (above). Once the network or the package lists work, type:" >&2
        echo "    ${sudo:+sudo }apt-get update && $line" >&2
        exit 1
    fi
    look
    if [ -n "$missing" ]; then
        echo "setup: installed, but not found by ${CC:-cc} and python3:$missing" >&2
        exit 1
    fi
fi

[ -x build/venv/bin/python ] && build/venv/bin/python -c 'import pip' 2>/dev/null || {
    rm -rf build/venv
    mkdir -p build
    python3 -m venv build/venv
}
# The requirements that were installed are kept beside the packages: nothing is asked of the network twice.
if [ "$goal" = test ] && ! cmp -s test/requirements.txt build/venv/requirements.txt; then
    if build/venv/bin/python -m pip install --quiet --disable-pip-version-check -r test/requirements.txt; then
        cp test/requirements.txt build/venv/requirements.txt
    else
        echo "setup: no Python packages ($(paste -sd' ' test/requirements.txt)): tests that need them will be skipped" >&2
    fi
fi
# A second NumPy, of the release that the original asks for: what it pickles is what ours must be byte for byte.
if [ "$goal" = test ] && [ ! -e build/numpy1/complete ]; then
    rm -rf build/numpy1
    if build/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --retries 1 \
        --timeout 10 --target build/numpy1 'numpy==1.26.*' 2>/dev/null; then
        : >build/numpy1/complete
    else
        echo "setup: no NumPy 1.26 for this Python: tests compare with the hashes of what it wrote instead" >&2
    fi
fi
