#!/bin/sh
# Fetch models, or corpora of vectors, for the source tree: weights/fetch.sh --help
set -eu
usage() {
    cat <<'USAGE'
usage: weights/fetch.sh [small] [--force]
       weights/fetch.sh PATH
       weights/fetch.sh midisimx-tiny [--to DIR] [--force]
       weights/fetch.sh large | midisimx-base [--revision REV] [--force]
       weights/fetch.sh corpus [NAME | --all] [--to DIR] [--revision REV] [--force]
       weights/fetch.sh --list

small, the default: the small model, to weights/midisim-small.safetensors. It is taken out of the Python package
midisim 26.1.18, which pip downloads (99 MB, once; kept in $XDG_CACHE_HOME/midisim or ~/.cache/midisim). Without
pip its checkpoint comes from the hub.

midisimx-tiny: the tiny model of the successor midisimx 26.10.26, to weights/midisimx-tiny.safetensors, and its
corpus of 17,209 songs, to midisim-embeddings in the current folder. Both are in its Python package, which pip
downloads (36 MB). The corpus is under CC BY-NC-SA.

With PATH, one of these packages (.whl) or the .pth in it from anywhere, nothing is downloaded. The SHA-256 of
weights/SHA256SUMS must match, and midisim-convert writes the weights as they are.

From the hub that the original names (weights/README.md), with size and SHA-256 checked as it publishes them:
  large          the large model, to weights/midisim-large.safetensors (also: --large)
  midisimx-base  the base model of midisimx, to weights/midisimx-base.safetensors
  corpus NAME    one corpus of vectors (.npy), as it is (also: --embeddings NAME); without NAME the one that the
                 original downloads by default
  corpus --all   all of them (also: --all-embeddings)
  --list         the names of the corpora, their bytes, model and pooling
  --to DIR       where corpora go (default midisim-embeddings in the current folder)
  --revision REV branch, tag or commit (default main)

  --force            fetch again although the file is there
  --token-over-http  send HF_TOKEN although HF_ENDPOINT is plain http
  --quiet            warnings and errors alone
  --help             this text

HF_ENDPOINT: another address of the hub. HF_TOKEN: for what needs an account. HF_HUB_OFFLINE=1: no network. A
download that was cut off goes on where it ended. 'midisim fetch' of an installation does the same.
USAGE
}
needs=
for word; do
    shift
    case $needs$word in
    --embeddings) needs='--embeddings: ' ;;
    *) needs= ;;
    esac
    case $word in
    --help | -h) usage; exit 0 ;;
    --large) set -- "$@" large ;;
    --embeddings) set -- "$@" corpus ;;
    --all-embeddings) set -- "$@" corpus --all ;;
    *) set -- "$@" "$word" ;;
    esac
done
[ -z "$needs" ] || { echo "fetch.sh: ${needs}expected a name, got nothing" >&2; exit 2; }
tree=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
export MIDISIM_CONVERT="${MIDISIM_CONVERT:-$tree/build/release/midisim-convert}"
case $MIDISIM_CONVERT in /*) ;; *) MIDISIM_CONVERT=$tree/$MIDISIM_CONVERT ;; esac
python=$tree/build/venv/bin/python
[ -x "$python" ] || python=$(command -v python3) || { echo "fetch.sh: no python3, which this needs" >&2; exit 1; }
exec "$python" "$tree/weights/fetch.py" --name fetch.sh --tree "$tree" "$@"
