#!/bin/sh
# Fetch the small model, the large one, or corpora of vectors: weights/fetch.sh --help
set -eu
usage() {
    cat <<'USAGE'
usage: weights/fetch.sh [--force] [PATH]
       weights/fetch.sh --large [--revision REV] [--force]
       weights/fetch.sh --embeddings NAME | --all-embeddings [--to DIR] [--revision REV] [--force]

Put the small model at weights/midisim-small.safetensors. Without PATH it is taken out of the Python package
midisim 26.1.18, downloaded by pip (99 MB, once; kept in $XDG_CACHE_HOME/midisim or ~/.cache/midisim). With
PATH, a midisim-26.1.18-*.whl or the small .pth from anywhere, nothing is downloaded. Either way the SHA-256 of
weights/SHA256SUMS must match, and midisim-convert writes the weights as they are (f32).

From the hub that the original names (weights/README.md), with size and SHA-256 checked as it publishes them:
  --large            the large model, to weights/midisim-large.safetensors
  --embeddings NAME  one corpus of vectors (.npy), as it is
  --all-embeddings   all of them
  --to DIR           where corpora go (default midisim-embeddings in the current folder)
  --revision REV     branch, tag or commit (default main)

  --force   fetch again although the file is there
  --help    this text

HF_ENDPOINT: another address of the hub; HF_TOKEN: for what needs an account; HF_HUB_OFFLINE=1: no network. A
download that was cut off is taken up where it ended.
USAGE
}
force=
given=
what=
name=
to=midisim-embeddings
revision=main
wrong() { echo "fetch.sh: $1" >&2; exit 2; }
value() { [ $# -gt 1 ] && [ -n "$2" ] || wrong "$1: expected a value, got none"; }
choose() { [ -z "$what" ] || wrong "expected one of --large, --embeddings, --all-embeddings, got two"; what=$1; }
is_about_corpora=
is_about_hub=
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) usage; exit 0 ;;
    --force) force=1 ;;
    --large) choose large ;;
    --embeddings) value "$@"; choose one; name=$2; shift ;;
    --all-embeddings) choose all ;;
    --to) value "$@"; to=$2; is_about_corpora=1; shift ;;
    --revision) value "$@"; revision=$2; is_about_hub=1; shift ;;
    -*) wrong "unknown option: $1" ;;
    *) [ -z "$given" ] || wrong "more than one PATH"
       given=$(realpath -- "$1") || exit 1 ;;
    esac
    shift
done
[ -z "$what" ] || [ -z "$given" ] || wrong "expected PATH or --$what, got both"
[ -n "$what" ] || [ -z "$is_about_hub$is_about_corpora" ] || wrong "--to and --revision: expected something of the hub with them"
[ "$what" != large ] || [ -z "$is_about_corpora" ] || wrong "--to: expected corpora with it, got --large"
to=$(realpath -m -- "$to")
cd "$(dirname "$0")/.."

package=midisim==26.1.18
out=weights/midisim-small.safetensors
cache=${XDG_CACHE_HOME:-$HOME/.cache}/midisim
convert=${MIDISIM_CONVERT:-build/release/midisim-convert}
wheel=$(sed -n 's/.*  \(.*\.whl\)$/\1/p' weights/SHA256SUMS)
checkpoint=$(sed -n 's/.*  \(.*\.pth\)$/\1/p' weights/SHA256SUMS)

say() { echo "fetch.sh: $*" >&2; }
fail() { say "$1"; say "Or give the file by hand: weights/fetch.sh PATH, a $wheel or the small .pth (see weights/README.md)"; exit 1; }
sum() { sha256sum <"$1" | cut -d' ' -f1; }
wanted() { sed -n "s/  $1\$//p" weights/SHA256SUMS; }

[ "$what" = large ] && out=weights/midisim-large.safetensors
case $what in
'' | large) [ -z "$force" ] && [ -z "$given" ] && [ -s $out ] && exit 0 ;;
esac
python=
for p in build/venv/bin/python python3; do
    command -v $p >/dev/null && { python=$p; break; }
done
[ -n "$python" ] || fail "no python3, which this needs"

# hub KIND REPOSITORY FILE OUT: a file, unless it is there.
hub() {
    { [ -z "$force" ] && [ -e "$4" ]; } || $python weights/hub.py file "$1" "projectlosangeles/$2" "$revision" "$3" "$4"
}

case $what in
one | all)
    say "the corpora of vectors (projectlosangeles/midisim-embeddings) are published under CC BY-NC-SA: not for commercial use,"
    say "and what is derived from them is under the same terms; their page on the hub has the licence."
    if [ "$what" = one ]; then
        case $name in *.npy) ;; *) name=$name.npy ;; esac
        if [ -z "$force" ] && [ -e "$to/$name" ]; then say "$to/$name is there"; exit 0; fi
        hub dataset midisim-embeddings "$name" "$to/$name"
    else
        $python weights/hub.py all dataset projectlosangeles/midisim-embeddings "$revision" "$to" $force
    fi
    exit ;;
esac

if [ ! -x "$convert" ]; then
    make -s "$convert" >&2 || fail "cannot build $convert"
fi

tmp=$(mktemp -d weights/.fetch.XXXXXX)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# download: the wheel goes to a temporary folder of the cache and takes its name only when its sum is right.
download() {
    for p in build/venv/bin/python python3; do
        $p -m pip --version >/dev/null 2>&1 && { pip="$p -m pip"; break; }
    done
    [ -n "${pip:-}" ] || fail "pip is not there (apt-get install python3-pip, or scripts/setup.sh)"
    mkdir -p "$cache"
    part=$(mktemp -d "$cache/part.XXXXXX")
    trap 'rm -rf "$tmp" "$part"' EXIT
    say "downloading $package (99 MB)"
    $pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary :all: --dest "$part" \
        $package </dev/null >"$tmp/log" 2>&1 || { tail -n 3 "$tmp/log" >&2; rm -rf "$part"; return 1; }
    got=$(sum "$part/$wheel" 2>/dev/null || echo "no file $wheel")
    if [ "$got" != "$(wanted "$wheel")" ]; then
        say "$wheel: expected SHA-256 $(wanted "$wheel"), got $got"
        rm -rf "$part"
        return 1
    fi
    mv "$part/$wheel" "$cache/$wheel"
    rm -rf "$part"
}

# unpack FILE: the one .pth of a wheel to $tmp/model.pth
unpack() {
    $python - "$1" "$tmp/model.pth" <<'PY'
import shutil, sys, zipfile
try:
    with zipfile.ZipFile(sys.argv[1]) as z:
        names = [n for n in z.namelist() if n.endswith(".pth")]
        if len(names) != 1:
            sys.exit(f"fetch.sh: {sys.argv[1]}: expected one .pth, got {len(names)}")
        with z.open(names[0]) as src, open(sys.argv[2], "wb") as dst:
            shutil.copyfileobj(src, dst, 1 << 20)
except (OSError, zipfile.BadZipFile) as e:
    sys.exit(f"fetch.sh: {sys.argv[1]}: {e}")
PY
}

if [ "$what" = large ]; then
    pth=midisim_large_pre_trained_model_2_epochs_86275_steps_0.2054_loss_0.9385_acc.pth
    say "the large model's terms are those of its repository on the hub, projectlosangeles/midisim."
    hub model midisim $pth "$cache/$pth" || exit 1
    "$convert" --quiet "$cache/$pth" "$tmp/model.safetensors" || { say "midisim-convert failed"; exit 1; }
    mv "$tmp/model.safetensors" $out
    say "wrote $out (its .pth stays in $cache)"
    exit 0
fi
if [ -n "$given" ]; then
    case $given in
    *.whl) unpack "$given" || exit 1 ;;
    *) ln -s "$given" "$tmp/model.pth" ;;
    esac
else
    if [ -f "$cache/$wheel" ] && [ "$(sum "$cache/$wheel")" != "$(wanted "$wheel")" ]; then
        say "$cache/$wheel: damaged, fetched again"
        rm -f "$cache/$wheel"
    fi
    [ -f "$cache/$wheel" ] || download || { say "trying once more"; download; } || fail "cannot download $package"
    unpack "$cache/$wheel" || fail "cannot unpack $cache/$wheel"
fi
got=$(sum "$tmp/model.pth")
[ "$got" = "$(wanted "$checkpoint")" ] || fail "${given:-$wheel}: expected a checkpoint with SHA-256 $(wanted "$checkpoint"), got $got"
"$convert" --quiet "$tmp/model.pth" "$tmp/model.safetensors" || fail "midisim-convert failed"
mv "$tmp/model.safetensors" $out
say "wrote $out"
