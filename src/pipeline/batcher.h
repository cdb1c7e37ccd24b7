/* Token sequences to vectors: takes items from a source as they become ready, sorts a window of
 * them by length, packs them into batches within a token budget, embeds, and hands each batch's
 * vectors on. Whatever the order of work, the vectors are the same. One thread; the encoder's own
 * threads work inside msim_context_embed_submit, a GPU beside it. */
#ifndef MS_PIPELINE_BATCHER_H
#define MS_PIPELINE_BATCHER_H
#include "pipeline/input/files.h"

/* One sequence from a source. */
typedef struct {
    const char *name; /* lives until the source is asked again; not NUL-terminated */
    uint32_t name_len;
    uint32_t content; /* the source's number for it, and its hash: for the source's own use */
    unsigned char sha256[32];
    int32_t *ids;               /* owned: ms_free */
    int64_t n_ids, full_length; /* ids there would be without a limit */
    void *piece;                /* the source's own: of which it is a window; NULL: a whole one */
    uint32_t window;            /* its number in the piece */
    size_t order;               /* of arrival, set by the embedder */
} ms_sequence;

/* Where sequences come from. next gives ms_reader_state, or < 0, which ends the run. */
typedef struct {
    int (*next)(void *source, bool may_wait, ms_sequence *out, msim_error *err);
    void *source;
    /* Inputs that are done, for the progress line, while n_waiting sequences are not. */
    int64_t (*n_done)(const void *source, int64_t n_waiting);
    int64_t n_all; /* inputs there are, or -1 */
    /* How many of the inputs that this run has to do gave what they have, 0..1; NULL or < 0: not
     * known. */
    double (*share_read)(const void *source);
} ms_sequences;

typedef struct {
    const msim_model *model;    /* borrowed */
    msim_options options;       /* max_batch_* are set by the embedder */
    int64_t longest;            /* no sequence will be longer; 0: not known */
    const float *class_weights; /* [classes of the model], or NULL for the mean */
    bool is_normalized;
    /* A batch is done: vectors [n, dim], normalised if wanted. The names and ids of the sequences
     * are no longer there. < 0 ends the run. NULL: nothing is kept. */
    int (*keep)(void *user, const ms_sequence *sequences, const float *vectors, size_t n,
                msim_error *err);
    void *user;
    ms_watch *watch; /* borrowed, or NULL */
} ms_batcher_request;

typedef struct {
    int64_t n_tokens;
    double encoder_seconds, wait_seconds; /* inside the encoder, or waiting for a GPU's; waiting for
                                           * sequences */
} ms_batcher_stats;

/* Embed everything that the sequences give. -MSIM_E_STOPPED after what was under way is kept. */
int ms_batcher_run(const ms_batcher_request *request, const ms_sequences *sequences,
                   ms_batcher_stats *stats, msim_error *err);

#endif
