#!/bin/sh
# MIDI files against a corpus that is too large for one machine's memory: build/mpi/midisim-search of `make MPI=1`. Each
# rank holds its part of the rows: one for each memory of a machine (here two processors), with as many threads as that has
# cores. Quantised rows (midisim-search --prepare) should be there.
#
#   CORPUS=/data/corpus.npy sbatch --output=found.json --error=found.log search-mpi.sh song.mid other.mid
#SBATCH --job-name=midisim-search
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=32
#SBATCH --mem=0
#SBATCH --time=00:30:00
set -eu
: "${CORPUS:?the corpus}"

exec srun --mpi=pmix --kill-on-bad-exit=1 --cpu-bind=sockets midisim-search --threads "$SLURM_CPUS_PER_TASK" \
    -c "$CORPUS" -k 100 --json "$@"
