#!/bin/sh
# The demonstration: embed a folder of MIDI files, then ask which of them resemble one, and which has a phrase. `make demo` calls this when
# the tools and the weights are there. Everything is made under build/demo; README.md shows the output.
set -eu
cd "$(dirname "$0")/.."
bin=$PWD/${1:-build/release}

rm -rf build/demo
grep -v '^#' demo/files.txt | while read -r file; do # origin/any/folders/name.mid -> midi/origin/name.mid
    mkdir -p "build/demo/midi/${file%%/*}"
    cp "test/data/midi/$file" "build/demo/midi/${file%%/*}/"
done
mkdir -p build/demo/midi/altered
cp demo/midi/*.mid build/demo/midi/altered/

cd build/demo
run() {
    echo "\$ $*"
    "$bin/$@"
}
run midisim-embed --notes -o corpus.npy midi
run midisim-search -c corpus.npy -k 8 --format table midi/freedink/love.mid
# A typed phrase: its quotes are part of what is shown.
phrase="E4:3/4 F4:1/4 G4:1/2 E4 D4 C4 B3 D4 D4 F4 E4 D4 E4:3/4 F4:1/4 G4:1/2 E4"
echo "\$ midisim-find -i corpus.notes -k 1 --format table --notes \"$phrase\""
"$bin/midisim-find" -i corpus.notes -k 1 --format table --notes "$phrase"
