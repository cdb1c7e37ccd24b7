/* MIDI to vectors: one piece in its keys. The tokeniser and the context are kept from piece to
 * piece. Uses the public header and base alone. One thread. */
#ifndef MS_QUERY_EMBEDDER_H
#define MS_QUERY_EMBEDDER_H
#include "base/status.h"
#include <stdbool.h>

enum { MS_QUERY_VARIANTS = 12 }; /* keys of one piece, at most */

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
} ms_query_embedder;

/* -MSIM_E_UNSUPPORTED for a model that takes no MIDI. On failure there is nothing to close. */
int ms_query_embedder_open(const msim_model *model, const msim_options *options,
                           ms_query_embedder *out, msim_error *err);
void ms_query_embedder_close(ms_query_embedder *e);
/* Embed a piece in the keys of a transpose factor, each cut to max_tokens (0: all): out
 * [msim_tokenizer_variants, dim]. Returns 1 when the piece was longer, else 0. */
int ms_query_embed_keys(ms_query_embedder *e, const void *midi, size_t n_bytes, int transpose,
                        int64_t max_tokens, float *out, msim_error *err);
/* Embed a piece moved by `semitones`: out [dim]. */
int ms_query_embed_at(ms_query_embedder *e, const void *midi, size_t n_bytes, int semitones,
                      int64_t max_tokens, float *out, msim_error *err);

#endif
