#!/bin/sh
# A folder of MIDI files to one corpus by one MPI job: build/mpi/midisim-embed of `make MPI=1`. Ranks take files as they
# come free, so nothing needs to be divided beforehand, and no merge follows. MUSIC and OUT must be the same folders on all
# nodes. Submitted again, with any number of nodes, it goes on where it was.
#
#   MUSIC=/data/midi OUT=/data/corpus sbatch --nodes=8 embed-mpi.sh
#SBATCH --job-name=midisim-embed
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -eu
: "${MUSIC:?the folder with the MIDI files}" "${OUT:?the folder for the corpus}"

# --kill-on-bad-exit: a rank that dies takes the others with it, instead of leaving them waiting.
exec srun --mpi=pmix --kill-on-bad-exit=1 midisim-embed --threads "$SLURM_CPUS_PER_TASK" \
    --skipped "$OUT/skipped.tsv" -o "$OUT/corpus.npy" "$MUSIC"
