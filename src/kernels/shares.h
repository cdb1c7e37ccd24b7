/* One context over one or several CUDA devices. Each device has a share with its own streams,
 * encoder and search. The sequences of a batch and the rows of a corpus are divided among the
 * devices, and answers are those of one device to the bit. kernels/backend.c owns it; one thread at
 * a time. docs/GPU.md. */
#ifndef MS_KERNELS_SHARES_H
#define MS_KERNELS_SHARES_H
#include "base/pool.h"
#include "kernels/encoder/encoder.h"
#include "kernels/search/search.h"

enum { MS_GPU_MAX_DEVICES = 64 };

typedef struct {
    ms_gpu_stream *encode_stream, *search_stream; /* owned; the first NULL in a context that only
                                                   * searches */
    ms_gpu_encoder *encoder;                      /* owned; NULL likewise */
    ms_gpu_search *search;                        /* owned */
    int64_t *starts; /* owned: [max_batch_seqs + 1] of the sequences given to this share */
    ms_hit *hits;    /* owned: [max_queries * max_k]; NULL with one share */
    bool has_batch[MSIM_BATCHES_UNDER_WAY]; /* this share has work of the batch in that slot */
    int64_t n_rows;
    int64_t n; /* what this share returned for a call; below 0: err says why */
    msim_error err;
} ms_gpu_share;

typedef struct {
    ms_gpu_share *shares; /* owned: [n_shares] */
    int n_shares;
    int64_t dim;                            /* of the model; 0 without */
    ms_pool *pool;                          /* owned: one thread per share; NULL with one share */
    int64_t n_submitted, n_finished;        /* batches so far */
    int64_t failed[MSIM_BATCHES_UNDER_WAY]; /* what waiting for a share of that batch gave before
                                              * its own wait */
    msim_error errors[MSIM_BATCHES_UNDER_WAY];
} ms_gpu_shares;

/* devices [n]: indices; models [n]: of these devices, borrowed, or NULL for a context that only
 * searches. On failure everything is given back. */
int ms_gpu_shares_open(const int *devices, int n, ms_gpu_model *const *models,
                       const msim_options *options, ms_gpu_shares **out, msim_error *err);
void ms_gpu_shares_close(ms_gpu_shares *p); /* accepts NULL */

/* As the functions of search/backend.h. */
int ms_gpu_shares_submit(ms_gpu_shares *p, const ms_batch *batch, const float *class_weights,
                         float *out, msim_error *err);
int ms_gpu_shares_wait(ms_gpu_shares *p, msim_error *err);
int ms_gpu_shares_embed_tokens(ms_gpu_shares *p, const ms_batch *batch, float *out,
                               msim_error *err);
int ms_gpu_shares_load(ms_gpu_shares *p, const ms_rows *views, size_t n_views, int64_t first,
                       int64_t n, msim_error *err);
int64_t ms_gpu_shares_topk(ms_gpu_shares *p, const ms_search_request *request, ms_hit *hits,
                           msim_error *err);
int64_t ms_gpu_shares_above(ms_gpu_shares *p, const ms_search_request *request, msim_error *err);
void ms_gpu_shares_outcome(const ms_gpu_shares *p, ms_search_outcome *out);
void ms_gpu_shares_stage_seconds(const ms_gpu_shares *p, double *out);

#endif
