/* MIDI to vectors: one piece in its keys. The tokeniser and the context are kept from piece to
 * piece. Uses the public header and base alone. One thread. */
#ifndef MS_QUERY_EMBEDDER_H
#define MS_QUERY_EMBEDDER_H
#include "base/status.h"
#include <stdbool.h>

enum {
    MS_QUERY_VARIANTS = 12, /* keys of one piece, at most */
    MS_QUERY_BATCH = 64,    /* sequences of one batch, at most */
    /* Tokens of a query that are tried in every key first. Of 48 long files among 350, the best of
     * 512 tokens was right more often than that of 256; docs/SEARCH.md, Likely keys. */
    MS_QUERY_LIKELY_TOKENS = 512
};

typedef struct {
    const msim_model *model; /* borrowed */
    msim_options options;
    int64_t dim, max_tokens;    /* of the model */
    const float *class_weights; /* borrowed; NULL: the plain mean */
    msim_tokenizer *tokenizer;  /* owned */
    msim_context *context;      /* owned; NULL until the first piece */
    int64_t batch_least;        /* tokens that a batch has room for at least */
    int64_t batch_tokens;       /* that the context was opened for */
    /* Asked before each batch; non-zero ends the call with -MSIM_E_STOPPED. NULL: never. */
    int (*should_stop)(void *user);
    void *stop_user;
    int32_t *ids; /* owned: [ids_cap] */
    size_t ids_cap;
    double seconds; /* inside embedding, so far */
    /* The piece that was encoded last: key i is ids[starts[i] .. starts[i + 1]). Keys may differ in
     * length. */
    int64_t starts[MS_QUERY_VARIANTS + 1];
    bool is_cut; /* it is longer than max_tokens */
    /* ... and cut last (query/windows.c). */
    msim_span *spans;       /* owned: [n_windows], as the piece is */
    msim_span *spans_moved; /* owned: [n_windows], in the key in hand */
    msim_bar_span *bars;    /* owned: [n_windows] */
    size_t spans_cap, spans_moved_cap, bars_cap, n_windows, n_keys;
    int64_t max_cut;     /* tokens of a key at most; INT64_MAX: all */
    int32_t *window_ids; /* owned: the windows of a batch */
    size_t window_ids_cap;
} ms_query_embedder;

/* -MSIM_E_UNSUPPORTED for a model that takes no MIDI. On failure there is nothing to close. */
int ms_query_embedder_open(const msim_model *model, const msim_options *options,
                           ms_query_embedder *out, msim_error *err);
void ms_query_embedder_close(ms_query_embedder *e);
/* Embed a piece in the keys of a transpose factor, each cut to max_tokens (0: all): out
 * [msim_tokenizer_variants, dim]. Returns 1 when the piece was longer, else 0. */
int ms_query_embed_keys(ms_query_embedder *e, const void *midi, size_t n_bytes, int transpose,
                        int64_t max_tokens, float *out, msim_error *err);
/* The same for the first MS_QUERY_LIKELY_TOKENS of the piece alone. The embedder holds all keys. */
int ms_query_embed_beginning(ms_query_embedder *e, const void *midi, size_t n_bytes, int transpose,
                             int64_t max_tokens, float *out, msim_error *err);
/* Embed a piece moved by `semitones`: out [dim]. */
int ms_query_embed_at(ms_query_embedder *e, const void *midi, size_t n_bytes, int semitones,
                      int64_t max_tokens, float *out, msim_error *err);

/* ---- Windows: query/windows.c ---- */

/* Encode a piece in the keys of a transpose factor, and cut it into windows (msim_job_options). The
 * embedder holds the keys, spans, bars and n_windows. Returns 1 when the piece was longer than
 * max_tokens, else 0. */
int ms_query_cut(ms_query_embedder *e, const void *midi, size_t n_bytes, int transpose,
                 int64_t max_tokens, int64_t window_tokens, int64_t window_step, msim_error *err);
/* Embed the piece that was cut: out [n_keys, n_windows, dim]. */
int ms_query_embed_windows(ms_query_embedder *e, float *out, msim_error *err);
/* Embed the piece that was cut, each key as the mean of its windows: out [n_keys, dim]. */
int ms_query_embed_pooled(ms_query_embedder *e, float *out, msim_error *err);

/* ---- Between the files of the embedder ---- */

/* The tokens of a piece in the keys of a transpose factor, each cut to max_tokens (0: all), go to
 * e->ids and e->starts. Returns the number of keys. */
int ms_query_encode(ms_query_embedder *e, const void *midi, size_t n_bytes, int transpose,
                    int64_t max_tokens, msim_error *err);
/* Embed n sequences ids[starts[i] .. starts[i + 1]) into out [n, dim], as many at a time as fit a
 * batch. */
int ms_query_embed_batches(ms_query_embedder *e, const int32_t *ids, const int64_t *starts,
                           size_t n, float *out, msim_error *err);

#endif
