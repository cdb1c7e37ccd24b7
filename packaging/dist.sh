#!/bin/sh
# The source as one file: build/midisim-VERSION.tar.gz, the same bytes for the same tree. Called by make dist.
set -eu
cd "$(dirname "$0")/.."
name=midisim-$VERSION
mkdir -p build
list=$(mktemp -d)
trap 'rm -rf "$list"' EXIT
# Tracked files as they lie here; without git, all that is neither built nor downloaded.
if [ "$(git rev-parse --show-cdup 2>/dev/null)" = "" ] && git ls-files -z --error-unmatch Makefile >/dev/null 2>&1; then
    git ls-files -z | LC_ALL=C sort -z >"$list/files"
    date=$(git log -1 --format=%ct)
else
    find . \( -path ./build -o -name .git -o -name __pycache__ -o -name .pytest_cache \) -prune -o \
        \( -type f -o -type l \) ! -path './weights/*.safetensors' ! -path './weights/*.pth' ! -path './weights/*.whl' ! -path ./COMMIT -print0 |
        sed -z 's|^\./||' | LC_ALL=C sort -z >"$list/files"
    date=$(stat -c %Y Makefile)
fi
printf '%s\n' "$COMMIT" >"$list/COMMIT"
tar --owner=0 --group=0 --numeric-owner --mtime="@${SOURCE_DATE_EPOCH:-$date}" --format=gnu --mode='u+rw,go+r,go-w' \
    --transform "s|^|$name/|" --null -cf "$list/$name.tar" -T "$list/files" -C "$list" --verbatim-files-from COMMIT
gzip -9n "$list/$name.tar"
mv "$list/$name.tar.gz" "build/$name.tar.gz"
echo "dist: build/$name.tar.gz"
