#!/bin/sh
# A package for Debian and Ubuntu out of an installation into a folder: build/midisim_VERSION-1_ARCH.deb. dpkg-deb is enough.
# The maintainer is who builds it: DEBFULLNAME and DEBEMAIL, else git's user, else the user and host. Called by make deb.
set -eu
cd "$(dirname "$0")/.."
command -v dpkg-deb >/dev/null || { echo "deb: no dpkg-deb, which this needs (apt-get install dpkg)" >&2; exit 1; }
arch=$(dpkg --print-architecture)
root=build/deb/midisim
rm -rf build/deb
mkdir -p $root/DEBIAN
name=${DEBFULLNAME:-$(git config user.name 2>/dev/null || id -un)}
email=${DEBEMAIL:-$(git config user.email 2>/dev/null || echo "$(id -un)@$(hostname -f 2>/dev/null || hostname)")}
seconds=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Makefile)}

umask 022
PREFIX=/usr DESTDIR=$PWD/$root MODEL=0 STRIP=strip SO_MODE=644 ZSHDIR=/usr/share/zsh/vendor-completions packaging/install.sh install >/dev/null
strip --remove-section=.comment --remove-section=.note "$root$LIBDIR"/*.so.* $root/usr/bin/*

# ---- Debian's own files
doc=$root/usr/share/doc/midisim
rm $doc/LICENSE
sed "s|@NAME@|$name|" packaging/debian/copyright >$doc/copyright
mv $doc/CHANGELOG.md $doc/changelog
printf 'midisim (%s-1) unstable; urgency=medium\n\n  * Release %s. Changes are in changelog.gz.\n\n -- %s <%s>  %s\n' \
    "$VERSION" "$VERSION" "$name" "$email" "$(LC_ALL=C date -u -R -d "@$seconds")" >$doc/changelog.Debian
find $root/usr/share/man -type f -exec gzip -9n {} +
gzip -9n $doc/changelog $doc/changelog.Debian

# ---- What it needs: by dpkg-shlibdeps where that is there, else the packages that hold the libraries here
needs() {
    if command -v dpkg-shlibdeps >/dev/null; then
        mkdir -p build/deb/debian
        printf 'Source: midisim\n\nPackage: midisim\nArchitecture: any\n' >build/deb/debian/control
        (cd build/deb && dpkg-shlibdeps -O --ignore-missing-info -l"midisim$LIBDIR" -xmidisim midisim/usr/bin/* \
            "midisim$LIBDIR/libmidisim.so.$VERSION" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
    else
        ldd "$root$LIBDIR/libmidisim.so.$VERSION" | sed -n 's|.* => \(/[^ ]*\) .*|\1|p' | while read -r file; do
            dpkg -S "$(realpath "$file")" "$file" 2>/dev/null | head -n 1 | cut -d: -f1
        done | sort -u | paste -sd, | sed 's/,/, /g'
    fi
}
depends=$(needs)
[ -n "$depends" ] || { echo "deb: cannot tell which packages the library needs" >&2; exit 1; }
kib=$(du -k -s --apparent-size --exclude=DEBIAN $root | cut -f1)
sed "s|@VERSION@|$VERSION-1|; s|@ARCH@|$arch|; s|@DEPENDS@|$depends, python3|; s|@KIB@|$kib|; s|@MAINTAINER@|$name <$email>|" \
    packaging/debian/control >$root/DEBIAN/control
echo "libmidisim $MAJOR midisim (>= $VERSION)" >$root/DEBIAN/shlibs
printf 'activate-noawait ldconfig\n' >$root/DEBIAN/triggers
(cd $root && find usr -type f -print0 | sort -z | xargs -0 md5sum) >$root/DEBIAN/md5sums
chmod 644 $root/DEBIAN/*
find $root -type d -exec chmod 755 {} +

out=build/midisim_$VERSION-1_$arch.deb
SOURCE_DATE_EPOCH=$seconds dpkg-deb --root-owner-group --build $root "$out" >/dev/null
echo "deb: $out"
