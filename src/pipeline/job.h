/* A job from the inside, in three steps: prepare (pipeline/prepare.c: what is there, what is left
 * to do), work (pipeline/work.c: files to tokens to vectors, each finished batch into the journal),
 * write (pipeline/write.c: journal, and the corpus that is brought up to date, to the new corpus).
 * Several ranks share the second step (pipeline/ranks.c); the others are rank 0's. pipeline/job.c
 * has the public functions.
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
    ms_previous previous; /* owned: the corpus that is brought up to date; all zero without one */
    ms_journal *journal;  /* owned */
    /* Which entries this run does: a reader's take with its user. By default ms_manifest_take with
     * the inputs: all that are not done. */
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
    int64_t n_read, n_lines; /* files read by this run; token lines */
    /* What it came to: pieces that gave rows, those rows; pieces that were cut; rows of contents
     * that an earlier row holds; files that could not be read. */
    int64_t n_pieces, n_rows, n_cut, n_shared, n_unread;
    int64_t n_failed; /* inputs that will fail again */
    uint32_t *order;  /* owned: [n_pieces] entries in the order of the rows, once these are written;
                       * NULL unless the job is detailed */
};

/* Everything before the work: output, inputs, model, journal. is_complete when there is nothing to
 * do. */
int ms_job_prepare(msim_job *job, msim_error *err);
/* Embed what is left. < 0 when the journal, the inputs or the device failed, or to stop; what was
 * finished is in the journal, synced if that was possible. */
int ms_job_work(msim_job *job, msim_error *err);
/* Count every input that gave nothing into skips, and what was cut. Once, after the work. */
int ms_job_account(msim_job *job, msim_error *err);
/* Write the corpus and its description from what is finished. */
int ms_job_write(msim_job *job, bool is_complete, msim_error *err);

/* ---- Several ranks: pipeline/ranks.c, and what it needs of pipeline/prepare.c ---- */

int ms_job_rank(const msim_job *job);
int ms_job_ranks(const msim_job *job);

/* Before any work: the ranks' journals can have their names. */
int ms_job_check_journals(const msim_job *job, msim_error *err);
/* Take over the journals that ranks of earlier runs left. */
int ms_job_absorb_left(msim_job *job, msim_error *err);
/* Take over one, of the rank that wrote for `corpus`; is_now: of this run. */
int ms_job_absorb(msim_job *job, const char *corpus, bool is_now, msim_error *err);
/* The preparation of a rank other than 0: its model and level, compared with rank 0's. */
int ms_job_join(msim_job *job, const ms_description *description, msim_error *err);

/* Collective, as msim_ranks has it. After rank 0 prepared (rc, which all get): everybody knows what
 * there is to do. */
int ms_job_share(msim_job *job, int rc, msim_error *err);
/* After the work (rc of each, all get the worst): what the others did is rank 0's, unless it
 * failed. */
int ms_job_gather(msim_job *job, int rc, msim_error *err);
/* Inputs that other ranks have taken so far. */
int64_t ms_job_taken_elsewhere(const msim_job *job);
void ms_job_part_free(ms_job_part *part);

#endif
