/* Packed sequences: all ids end to end, and where each sequence starts. So no padding is
 * computed. */
#ifndef MS_MODEL_BATCH_H
#define MS_MODEL_BATCH_H
#include "model/family.h"

typedef struct {
    const int32_t *ids;    /* borrowed: [starts[n_seq]] */
    const int64_t *starts; /* borrowed: [n_seq + 1], starts[0] = 0, not falling */
    int64_t n_seq;
    int64_t n_tokens;                /* starts[n_seq] */
    int64_t longest;                 /* tokens of the longest sequence */
    const ms_token_classes *classes; /* static: of the ids, for weighted pooling */
} ms_batch;

/* Check and describe a packed batch for a model of this vocabulary: starts must begin at 0 and not
 * fall, every id must be in 0..vocab-1. */
int ms_batch_init(ms_batch *out, const int32_t *ids, const int64_t *starts, size_t n_seq,
                  int64_t vocab, msim_error *err);

#endif
