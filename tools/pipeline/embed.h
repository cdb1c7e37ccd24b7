/* A run of midisim-embed, in three steps: prepare (pipeline/prepare.c: what is there, what is left
 * to do), work (pipeline/work.c: files to tokens to vectors, each finished batch into the journal),
 * write (pipeline/write.c: journal, and the corpus that is brought up to date, to the new corpus).
 * Several ranks share the second step (pipeline/ranks.c); the others are rank 0's. embed.c has
 * options, messages and exit codes.
 *
 *   list of files -> take: which entry next -> reader -> claim: is its content new? -> embedder ->
 *   journal -> corpus
 *
 * One thread; the reader's threads call take and claim. */
#ifndef MS_TOOLS_PIPELINE_EMBED_H
#define MS_TOOLS_PIPELINE_EMBED_H
#include "batcher.h"
#include "manifest.h"
#include "journal.h"
#include "output.h"
#include "reader.h"
#include "token_lines.h"

typedef struct {
    ms_cli_common common;
    const char *output, *files_from, *from_tokens, *skipped, *name_field, *vector_field, *shard,
        *per_token;
    int pooling, names, dtype;
    float pool_weights[3];
    int64_t transpose, max_tokens;
    bool is_normalized, is_nul_separated, is_forced, is_update, is_journal_kept;
    int64_t shard_index, n_shards; /* of --shard; 0: all files */
} ms_embed_settings;

typedef struct ms_embed_part ms_embed_part;

typedef struct {
    const ms_embed_settings *s;
    ms_output output;
    ms_description about; /* of the corpus to be written */
    char level[16];       /* of this run */
    msim_model *model;    /* owned */
    msim_options options;
    ms_manifest inputs;  /* owned */
    ms_previous base;    /* owned: the corpus that is brought up to date; all zero without
                                    * one */
    ms_journal *journal; /* owned */
    /* Which entries this run does: a reader's take with its user. By default ms_manifest_take with
     * the inputs: all that are not done. */
    bool (*take)(void *user, size_t *index);
    void *take_user;
    size_t ahead;          /* the reader's; 0: as it likes */
    ms_embed_part *part;   /* owned: of one rank of several; NULL when there is one */
    ms_reader *reader;     /* owned, while MIDI files are read, or */
    ms_token_lines *lines; /* owned: token lines */
    ms_files_skips *skips; /* owned */
    ms_batcher_stats stats;
    msim_error failure;      /* of the journal while sequences were taken; code 0 otherwise */
    bool is_unchanged;       /* the corpus was up to date and is left as it is */
    int64_t n_read, n_lines; /* files read by this run; token lines */
    int64_t n_rows, n_cut, n_shared, n_unread; /* what it came to: rows, of pieces that were cut, of
                                                * contents that an earlier row holds; files that
                                                * could not be read */
} ms_embed_run;

/* Everything before the work: output, inputs, model, journal. 1 when there is nothing to do. */
int ms_embed_prepare(ms_embed_run *run, msim_error *err);
/* Embed what is left. < 0 when the journal, the inputs or the device failed; what was finished is
 * in the journal, synced if that was possible. A signal is no failure. */
int ms_embed_work(ms_embed_run *run, msim_error *err);
/* Count every input that gave nothing into skips, and what was cut. Once, after the work. */
int ms_embed_account(ms_embed_run *run, msim_error *err);
/* Write the corpus and its description from what is finished. */
int ms_embed_write(ms_embed_run *run, bool is_complete, msim_error *err);
void ms_embed_close(ms_embed_run *run);

/* ---- Several ranks: pipeline/ranks.c, and what it needs of pipeline/prepare.c ---- */

/* Take over the journals that ranks of earlier runs left. */
int ms_embed_absorb_left(ms_embed_run *run, msim_error *err);
/* Take over one, of the rank that wrote for `corpus`; is_now: of this run. */
int ms_embed_absorb(ms_embed_run *run, const char *corpus, bool is_now, msim_error *err);
/* The preparation of a rank other than 0: its model and level, compared with rank 0's. */
int ms_embed_join(ms_embed_run *run, const ms_description *about, msim_error *err);

/* Collective, as tools/common/ranks.h has it. After rank 0 prepared (rc, which all get): everybody
 * knows what there is to do. */
int ms_embed_share(ms_embed_run *run, int rc, msim_error *err);
/* After the work (rc of each, all get the worst): what the others did is rank 0's, unless it failed
 * or a signal came. */
int ms_embed_gather(ms_embed_run *run, int rc, msim_error *err);
/* Inputs that other ranks have taken so far. */
int64_t ms_embed_taken_elsewhere(const ms_embed_run *run);
void ms_embed_part_free(ms_embed_part *part);

#endif
