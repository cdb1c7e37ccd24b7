/* A job that makes a note index, from the inside (pipeline/index/build.c), and what several ranks
 * need (pipeline/index/ranks.c). */
#ifndef MS_PIPELINE_INDEX_BUILD_H
#define MS_PIPELINE_INDEX_BUILD_H
#include "pipeline/watch.h"

/* An index that pieces may come from: the one before an update, or what an earlier run or this one
 * kept. */
typedef struct {
    msim_notes *notes; /* owned */
    uint8_t *is_kept;  /* owned: [n_pieces] */
    int64_t n_pieces;
    int64_t part; /* its number in OUTPUT.kept-N; -1: none */
} ms_notesjob_old;

typedef struct {
    msim_notes_job_options o; /* what it points to is the caller's; ranks NULL for one process */
    ms_watch watch;
    msim_walk *walk; /* owned, and so on */
    msim_note_reader *reader;
    msim_notes_builder *builder;
    ms_notesjob_old *old; /* owned: [n_old] */
    size_t n_old, old_cap;
    int64_t n_parts;     /* numbers of parts that are taken: OUTPUT.kept-0 .. */
    int64_t n_unwritten; /* pieces that were read and are in none of them */
    char *part_path;     /* owned: [part_path_cap] */
    size_t part_path_cap;
    /* Of a rank other than 0: inputs that gave nothing, for rank 0. */
    unsigned char *skips; /* owned: [skips_cap] */
    size_t n_skips, skips_cap;
    unsigned char *chunk; /* owned: of several ranks, for what one of them sends */
    msim_notes_job_stats stats;
} ms_notesjob;

/* Take an open index over, also when this fails. is_new: all its pieces are kept, for this run has
 * written them. */
int ms_notesjob_add_old(ms_notesjob *job, msim_notes *notes, int64_t part, bool is_new,
                        msim_error *err);
/* OUTPUT.kept-N; valid until the next call. */
const char *ms_notesjob_part_path(ms_notesjob *job, int64_t part);
/* Keep what was read since the last part. */
int ms_notesjob_write_part(ms_notesjob *job, msim_error *err);

/* ---- Several ranks; for one process these do what that needs ---- */

int ms_notesjob_open_builder(ms_notesjob *job, msim_error *err);
/* Collective: rank 0's list for all. rc: the result of opening, which all get. */
int ms_notesjob_share(ms_notesjob *job, int rc, msim_error *err);
/* The number of a new part. */
int64_t ms_notesjob_take_part(ms_notesjob *job);
/* True when another rank has failed or was stopped. */
bool ms_notesjob_is_over(const ms_notesjob *job);
/* Remember an input that gave nothing. */
int ms_notesjob_note_skip(ms_notesjob *job, const msim_walk_item *item);
/* Collective, after the work: rank 0 learns what the others kept, skipped and counted. rc: each
 * rank's result; all get the worst. */
int ms_notesjob_gather(ms_notesjob *job, int rc, msim_error *err);

#endif
