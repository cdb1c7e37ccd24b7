#!/bin/sh
# Joins what the jobs of embed-array.sh have made, and checks all of it. Rows are in the order of one job that did it all.
#SBATCH --job-name=midisim-merge
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=02:00:00
set -eu
: "${OUT:?the folder with the parts}"

midisim-convert --merge "$OUT"/part-*.npy -o "$OUT/corpus.npy"
midisim-convert --verify "$OUT/corpus.npy"
midisim-search -c "$OUT/corpus.npy" --prepare
