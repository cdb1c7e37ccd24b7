/* Token sequences to vectors. The batcher takes sequences from a source as they become ready, sorts
 * a window of them by length, packs them into batches within a token budget, embeds the batches and
 * hands their vectors on. The vectors are the same whatever the order of work. One thread; the
 * encoder's own threads work inside msim_context_embed_submit, and a GPU works beside this
 * thread. */
#ifndef MS_PIPELINE_BATCHER_H
#define MS_PIPELINE_BATCHER_H
#include "pipeline/input/files.h"

/* One sequence from a source. */
typedef struct {
    const char *name; /* lives until the source is asked again; not NUL-terminated */
    uint32_t name_len;
    uint32_t content; /* the source's number and hash of the content: for the source alone */
    unsigned char sha256[32];
    int32_t *ids;               /* owned: ms_free */
    int64_t n_ids, full_length; /* full_length: ids without a token limit */
    void *piece;     /* the source's own piece of which this is a window; NULL: a whole piece */
    uint32_t window; /* its number in the piece */
    size_t order;    /* of arrival, set by the batcher */
} ms_sequence;

/* Where sequences come from. `next` returns ms_reader_state, or < 0, which ends the run. */
typedef struct {
    int (*next)(void *source, bool may_wait, ms_sequence *out, msim_error *err);
    void *source;
    /* How many inputs are done while n_waiting sequences wait: for the progress line. */
    int64_t (*n_done)(const void *source, int64_t n_waiting);
    int64_t n_all; /* inputs there are, or -1 */
    /* How many of the inputs that this run has to do gave what they have, 0..1; NULL or < 0: not
     * known. */
    double (*share_read)(const void *source);
} ms_sequences;

typedef struct {
    const msim_model *model;    /* borrowed */
    msim_options options;       /* the batcher sets max_batch_* */
    int64_t longest;            /* no sequence will be longer; 0: not known */
    const float *class_weights; /* [classes of the model], or NULL for the mean */
    bool is_normalized;
    /* Gets the vectors [n, dim] of each finished batch, normalised if is_normalized. The names and
     * ids of the sequences are gone by then. A result < 0 ends the run. NULL: nothing is kept. */
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

/* Embed all sequences. When the caller stops the run, what is under way is finished and kept; then
 * this returns -MSIM_E_STOPPED. */
int ms_batcher_run(const ms_batcher_request *request, const ms_sequences *sequences,
                   ms_batcher_stats *stats, msim_error *err);

#endif
