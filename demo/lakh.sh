#!/bin/sh
# Three piano pieces of Debussy among 17,209 songs: `make demo-lakh` calls this when the tools, the tiny model of midisimx and
# its corpus are there.
set -eu
cd "$(dirname "$0")/.."
bin=$PWD/${1:-build/release}
corpus=midisim-embeddings/lakh_midi_dataset_17209_clean_midis_embeddings_1_2_1_2_weighted_cc_by_nc_sa.npy
pieces=test/data/midi/giantmidi-piano/midis_for_evaluation/giantmidi-piano

set -- -m weights/midisimx-tiny.safetensors -c "$corpus" --transpose 0 --max-tokens 1024 -k 3 --format table "$pieces"/Debussy_*.mid
echo "\$ midisim-search $*"
"$bin/midisim-search" "$@"
