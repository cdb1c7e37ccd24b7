/* A job from the inside. It has three steps: prepare (pipeline/prepare.c) finds out what is there
 * and what is left to do; work (pipeline/work.c) turns files into tokens and vectors and puts each
 * finished batch into the journal; write (pipeline/write.c) makes the new corpus from the journal
 * and the previous corpus. Several ranks share the second step (pipeline/ranks.c); rank 0 does the
 * others. pipeline/job.c has the public functions.
 *
 *   list of files -> take: which entry next -> reader -> claim: is its content new? -> batcher ->
 *   journal -> corpus
 *
 * One thread; the reader's threads call take and claim. */
#ifndef MS_PIPELINE_JOB_H
#define MS_PIPELINE_JOB_H
#include "pipeline/batcher.h"
#include "pipeline/disk/journal.h"
#include "pipeline/manifest.h"
#include "pipeline/disk/output.h"
#include "pipeline/input/reader.h"
#include "pipeline/input/skips.h"
#include "pipeline/input/token_lines.h"
#include "pipeline/pieces.h"

typedef struct ms_job_part ms_job_part;

struct msim_job {
    msim_job_options o; /* what it points to is the caller's */
    msim_options options;
    ms_watch watch;
    double began;
    ms_output output;
    ms_description description; /* of the corpus to be written */
    char level[16];             /* of this run */
    const msim_model *model;    /* borrowed: the caller's, or own_model */
    msim_model *own_model;      /* owned, or NULL */
    msim_model_info info;
    ms_manifest manifest; /* owned */
    ms_previous previous; /* owned: the corpus before an update; all zero without --update */
    msim_notes *index;    /* owned: the note index that is there already, or NULL */
    ms_journal *journal;  /* owned */
    /* Chooses the entries that this run does: the reader's `take`, and its `user`. By default that
     * is ms_manifest_take, which gives all entries that are not done. */
    bool (*take)(void *user, size_t *index);
    void *take_user;
    size_t ahead;          /* the reader's; 0: as it likes */
    ms_job_part *part;     /* owned: of one rank of several; NULL when there is one */
    ms_reader *reader;     /* owned, while MIDI files are read, or */
    ms_token_lines *lines; /* owned: token lines */
    ms_pieces pieces;      /* owned: pieces of which windows are embedded */
    ms_skips skips;        /* owned */
    ms_batcher_stats stats;
    bool is_complete;    /* the output is there already: nothing to do */
    bool is_run;         /* msim_job_run was called */
    bool has_failed;     /* the work failed, and not by the journal: what is finished is whole */
    bool is_journal_bad; /* the journal could not be written while sequences were taken */
    bool is_unchanged;   /* the corpus was up to date and is left as it is */
    bool is_index_unchanged; /* the note index too */
    int64_t n_read, n_lines; /* files read by this run; token lines */
    /* Results: pieces that gave rows; their rows; pieces that were cut; rows whose content an
     * earlier row has too; files that could not be read. */
    int64_t n_pieces, n_rows, n_cut, n_shared, n_unread;
    int64_t n_failed;  /* inputs that will fail again */
    int64_t n_indexed; /* pieces of the note index */
    uint32_t *order; /* owned: [n_pieces] entries in the order of the rows, once these are written;
                       * NULL unless the job is detailed */
};

/* Check and open everything before the work: output, inputs, model, journal. Sets is_complete when
 * nothing is left to do. */
int ms_job_prepare(msim_job *job, msim_error *err);
/* Embed what is left. Returns < 0 when the journal, the inputs or the device fails, or when the
 * caller stops the job. What is finished by then is in the journal, synced if possible. */
int ms_job_work(msim_job *job, msim_error *err);
/* Add every input that gave no row to `skips`, and count what was cut. Call this once, after the
 * work. */
int ms_job_account(msim_job *job, msim_error *err);
/* Write the corpus and its description from what is finished. */
int ms_job_write(msim_job *job, bool is_complete, msim_error *err);

/* ---- The note index beside the corpus: pipeline/index/beside.c ---- */

/* Open the index that is there already, if it can be used. */
int ms_job_open_index(msim_job *job, msim_error *err);
/* 1 when that index has the pieces of the previous corpus, which is whole, and no others; else 0;
 * < 0 when memory runs out. */
int ms_job_index_is_current(const msim_job *job, msim_error *err);
/* Write the index from the journal and the index that is there. */
int ms_job_write_index(msim_job *job, msim_error *err);

/* ---- Several ranks: pipeline/ranks.c, and what it needs of pipeline/prepare.c ---- */

int ms_job_rank(const msim_job *job);
int ms_job_ranks(const msim_job *job);

/* Before any work: the ranks' journals can have their names. */
int ms_job_check_journals(const msim_job *job, msim_error *err);
/* Take over the journals that ranks of earlier runs left. */
int ms_job_absorb_left(msim_job *job, msim_error *err);
/* Take over the journal of one rank, which wrote for `corpus`. is_now: that rank is of this run. */
int ms_job_absorb(msim_job *job, const char *corpus, bool is_now, msim_error *err);
/* Prepare a rank other than 0: open its model, and compare model and level with rank 0's. */
int ms_job_join(msim_job *job, const ms_description *description, msim_error *err);

/* Collective, as in msim_ranks: rank 0 tells all ranks what is left to do. `rc` is the result of
 * its preparation, which every rank gets. */
int ms_job_share(msim_job *job, int rc, msim_error *err);
/* Collective, after the work: rank 0 takes over what the others did, unless the work failed. `rc`
 * is each rank's result; all get the worst. */
int ms_job_gather(msim_job *job, int rc, msim_error *err);
/* Inputs that other ranks have taken so far. */
int64_t ms_job_taken_elsewhere(const msim_job *job);
void ms_job_part_free(ms_job_part *part);

#endif
