#!/bin/sh
# A folder of MIDI files to one corpus by an array of independent jobs: no MPI. Each embeds the files whose path falls
# into its part. A job that was ended goes on where it was when it is submitted again. Then embed-merge.sh joins the parts:
#
#   MUSIC=/data/midi OUT=/data/corpus; export MUSIC OUT; mkdir -p "$OUT"
#   job=$(sbatch --parsable embed-array.sh)
#   sbatch --dependency=afterok:"$job" embed-merge.sh
#
# After embed-array.sh was changed to another number of parts, begin with an empty OUT: a part belongs to its number.
#SBATCH --job-name=midisim-embed
#SBATCH --array=1-64
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=8G
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@60
set -eu
: "${MUSIC:?the folder with the MIDI files}" "${OUT:?the folder for the parts}"

part=$OUT/part-$SLURM_ARRAY_TASK_ID.npy
status=0
srun midisim-embed --threads "$SLURM_CPUS_PER_TASK" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" \
    --skipped "$part.skipped.tsv" -o "$part" "$MUSIC" || status=$?
# 1: some files could not be used, as the list says; the part is whole all the same when it is there.
[ "$status" -eq 0 ] || { [ "$status" -eq 1 ] && [ -e "$part" ]; }
