#!/bin/sh
# Put what was built in its place, or take it away again: packaging/install.sh install|uninstall, called by make, which says
# the rest in variables (packaging/packaging.mk). One list serves both, so nothing that is installed can be forgotten.
set -eu
cd "$(dirname "$0")/.."
goal=$1
so=libmidisim.so
share=$PREFIX/share
doc=$share/doc/midisim
zsh=${ZSHDIR:-$share/zsh/site-functions}
: "${STRIP:=}" "${MODEL:=1}"

# put MODE SOURCE TARGET, link TEXT TARGET: one file of the list.
put() {
    if [ "$goal" = install ]; then
        install -D -m "$1" "$2" "$DESTDIR$3"
    else
        rm -f "$DESTDIR$3"
    fi
}
link() {
    if [ "$goal" = install ]; then
        ln -sf "$1" "$DESTDIR$2"
    else
        rm -f "$DESTDIR$2"
    fi
}
strip_file() { # OPTION TARGET
    if [ "$goal" = install ] && [ -n "$STRIP" ]; then "$STRIP" "$1" "$DESTDIR$2"; fi
}
# pc: the paths of midisim.pc, with blanks as pkg-config wants them; below PREFIX they can be moved with it.
pc() {
    libdir=$LIBDIR
    case $LIBDIR in "$PREFIX"/*) libdir="\${prefix}${LIBDIR#"$PREFIX"}" ;; esac
    quote() { printf '%s' "$1" | sed 's/ /\\ /g; s/[\\|&]/\\&/g'; }
    sed "s|@PREFIX@|$(quote "$PREFIX")|; s|@LIBDIR@|$(quote "$libdir")|; s|@VERSION@|$VERSION|" midisim.pc.in
}
pages() { sed "s|@VERSION@|$VERSION|" "packaging/man/$1"; }

made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
if [ "$goal" = install ]; then
    pc >"$made/midisim.pc"
    pages midisim.1 >"$made/midisim.1"
    pages midisim.7 >"$made/midisim.7"
fi

# ---- Programs and libraries
put 755 "$BUILD/midisim" "$PREFIX/bin/midisim"
strip_file -s "$PREFIX/bin/midisim"
for tool in $TOOLS; do
    put 755 "$BUILD/shared/midisim-$tool" "$PREFIX/bin/midisim-$tool"
    strip_file -s "$PREFIX/bin/midisim-$tool"
done
put 644 include/midisim.h "$PREFIX/include/midisim.h"
put 644 "$BUILD/libmidisim.a" "$LIBDIR/libmidisim.a"
strip_file -g "$LIBDIR/libmidisim.a"
put "${SO_MODE:-755}" "$BUILD/$so.$MAJOR" "$LIBDIR/$so.$VERSION"
strip_file --strip-unneeded "$LIBDIR/$so.$VERSION"
link "$so.$VERSION" "$LIBDIR/$so.$MAJOR"
link "$so.$MAJOR" "$LIBDIR/$so"
put 644 "$made/midisim.pc" "$LIBDIR/pkgconfig/midisim.pc"

# ---- What the tools need
for file in fetch.py hub.py SHA256SUMS; do put 644 "weights/$file" "$share/midisim/fetch/$file"; done
small=weights/midisim-small.safetensors
if [ "$goal" = uninstall ] || { [ "$MODEL" != 0 ] && [ -s $small ]; }; then
    put 644 $small "$share/midisim/midisim-small.safetensors"
fi
fit=weights/default.whiten
if [ "$goal" = uninstall ] || [ -s $fit ]; then put 644 $fit "$share/midisim/default.whiten"; fi

# ---- Manual and completions
for name in midisim $(printf 'midisim-%s ' $TOOLS); do
    page=$BUILD/share/$name.1 bash=$BUILD/share/$name zcompletion=$BUILD/share/_$name fish=$BUILD/share/$name.fish
    if [ "$name" = midisim ]; then
        page=$made/midisim.1
        bash=packaging/completions/midisim.bash zcompletion=packaging/completions/_midisim fish=packaging/completions/midisim.fish
    fi
    put 644 "$page" "$share/man/man1/$name.1"
    put 644 "$bash" "$share/bash-completion/completions/$name"
    put 644 "$zcompletion" "$zsh/_$name"
    put 644 "$fish" "$share/fish/vendor_completions.d/$name.fish"
done
put 644 "$made/midisim.7" "$share/man/man7/midisim.7"

# ---- Documents: where README's links find them
for file in README.md CHANGELOG.md LICENSE docs/*.md docs/guide/*.md docs/*.png weights/README.md examples/*.c examples/slurm/*.sh; do
    put 644 "$file" "$doc/$file"
done

if [ "$goal" = uninstall ]; then
    for folder in "$doc/docs/guide" "$doc/docs" "$doc/weights" "$doc/examples/slurm" "$doc/examples" "$doc" "$share/midisim/fetch" "$share/midisim"; do
        rmdir "$DESTDIR$folder" 2>/dev/null || :
    done
fi

# ---- The linker's cache, for programs that use the library
if [ -z "$DESTDIR" ]; then
    PATH=$PATH:/usr/sbin:/sbin
    if [ "$(id -u)" = 0 ] && command -v ldconfig >/dev/null; then
        ldconfig
    elif [ "$goal" = install ]; then
        echo "install: programs of yours find $so in $LIBDIR after: sudo ldconfig (or link with -Wl,-rpath,'$LIBDIR')"
    fi
fi
[ "$goal" = uninstall ] || echo "install: midisim $VERSION is in $DESTDIR$PREFIX"
[ "$goal" = uninstall ] || [ -s "$DESTDIR$share/midisim/midisim-small.safetensors" ] ||
    echo "install: no model yet: 'midisim fetch small' fetches it"
