/* Contract: kernels/shares.h. Embedding only puts work into streams, so one thread serves all
 * devices; a search is led by the host from round to round, so each device has a thread of the
 * pool. With one share nothing is divided and no thread runs. */
#include "kernels/shares.h"
#include "base/mem.h"
#include "kernels/kernels.h"
#include "search/merge.h"
#include <pthread.h>
#include <string.h>

static int open_share(ms_gpu_share *share, int device, const ms_gpu_model *model,
                      const msim_options *o, bool is_alone, msim_error *err) {
    size_t n_hits;
    int rc = ms_gpu_stream_open(device, &share->search_stream, err);
    if (rc >= 0) rc = ms_gpu_search_open(share->search_stream, o, &share->search, err);
    if (rc >= 0 && model) rc = ms_gpu_stream_open(device, &share->encode_stream, err);
    if (rc >= 0 && model)
        rc = ms_gpu_encoder_open(model, share->encode_stream, o, &share->encoder, err);
    if (rc < 0 || is_alone) return rc;
    if (model && !(share->starts = ms_alloc((size_t)o->max_batch_seqs + 1, sizeof *share->starts,
                                            "starts", err)))
        return -MSIM_E_MEMORY;
    if (!ms_mul_size((size_t)o->max_queries, (size_t)o->max_k, &n_hits))
        return ms_fail(err, MSIM_E_LIMIT, "max_queries x max_k does not fit in memory");
    share->hits = ms_alloc(n_hits, sizeof *share->hits, "search results", err);
    return share->hits ? MSIM_OK : -MSIM_E_MEMORY;
}

static void close_share(ms_gpu_share *share) {
    ms_gpu_encoder_close(share->encoder);
    ms_gpu_search_close(share->search);
    ms_gpu_stream_close(share->encode_stream);
    ms_gpu_stream_close(share->search_stream);
    ms_free(share->starts);
    ms_free(share->hits);
}

int ms_gpu_shares_open(const int *devices, int n, ms_gpu_model *const *models,
                       const msim_options *options, ms_gpu_shares **out, msim_error *err) {
    int rc = MSIM_OK;
    ms_gpu_shares *p = ms_alloc(1, sizeof *p, "CUDA context", err);
    if (!p) return -MSIM_E_MEMORY;
    p->n_shares = n;
    p->dim = models ? models[0]->dim : 0;
    p->shares = ms_alloc((size_t)n, sizeof *p->shares, "CUDA context", err);
    if (!p->shares) rc = -MSIM_E_MEMORY;
    for (int i = 0; rc >= 0 && i < n; i++)
        rc = open_share(&p->shares[i], devices[i], models ? models[i] : NULL, options, n == 1, err);
    if (rc >= 0 && n > 1) rc = ms_pool_open(n, &p->pool, err);
    if (rc < 0) {
        ms_gpu_shares_close(p);
        return rc;
    }
    *out = p;
    return MSIM_OK;
}

void ms_gpu_shares_close(ms_gpu_shares *p) {
    if (!p) return;
    for (int i = 0; p->shares && i < p->n_shares; i++) close_share(&p->shares[i]);
    ms_pool_close(p->pool);
    ms_free(p->shares);
    ms_free(p);
}

/* The first error among the shares, else MSIM_OK. */
static int shares_status(const ms_gpu_shares *p, msim_error *err) {
    for (int i = 0; i < p->n_shares; i++)
        if (p->shares[i].n < 0) {
            if (err) *err = p->shares[i].err;
            return (int)p->shares[i].n;
        }
    return MSIM_OK;
}

/* ---- Embedding: neighbouring sequences to each device, as many tokens to each as come out even */

/* The first sequence of share i: where i / n_shares of the tokens have passed. */
static int64_t first_sequence(const ms_gpu_shares *p, const ms_batch *batch, int i) {
    if (i == 0) return 0;
    if (i == p->n_shares) return batch->n_seq;
    int64_t low = 0, high = batch->n_seq;
    while (low < high) {
        int64_t mid = low + (high - low) / 2;
        if ((double)batch->starts[mid] * p->n_shares < (double)batch->n_tokens * i)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The share's sequences of a batch; starts are counted anew in the share's own array. */
static ms_batch share_of(const ms_gpu_shares *p, const ms_batch *batch, int i, int64_t *first) {
    int64_t end = first_sequence(p, batch, i + 1), *starts = p->shares[i].starts;
    *first = first_sequence(p, batch, i);
    ms_batch mine = {.classes = batch->classes,
                     .ids = batch->ids + batch->starts[*first],
                     .starts = starts,
                     .n_seq = end - *first};
    for (int64_t s = 0; s <= mine.n_seq; s++) {
        starts[s] = batch->starts[*first + s] - batch->starts[*first];
        if (s && starts[s] - starts[s - 1] > mine.longest) mine.longest = starts[s] - starts[s - 1];
    }
    mine.n_tokens = starts[mine.n_seq];
    return mine;
}

/* Wait for the share's oldest batch, which is the one in `slot`; a failure is kept for that batch's
 * own wait. */
static void finish_share(ms_gpu_shares *p, ms_gpu_share *share, int slot) {
    msim_error e = {0};
    if (!share->has_batch[slot]) return;
    share->has_batch[slot] = false;
    int rc = ms_gpu_encoder_wait(share->encoder, &e);
    if (rc < 0 && p->failed[slot] >= 0) {
        p->failed[slot] = rc;
        p->errors[slot] = e;
    }
}

int ms_gpu_shares_submit(ms_gpu_shares *p, const ms_batch *batch, const float *class_weights,
                         float *out, msim_error *err) {
    int slot = (int)(p->n_submitted % MSIM_BATCHES_UNDER_WAY), rc = MSIM_OK;
    if (p->n_submitted - p->n_finished == MSIM_BATCHES_UNDER_WAY)
        return ms_fail(err, MSIM_E_LIMIT,
                       "embed: %d batches are under way already; wait for one first",
                       MSIM_BATCHES_UNDER_WAY);
    p->failed[slot] = MSIM_OK;
    for (int i = 0; rc >= 0 && i < p->n_shares; i++) {
        int64_t first = 0;
        ms_batch mine = p->n_shares == 1 ? *batch : share_of(p, batch, i, &first);
        if (mine.n_seq == 0) continue;
        rc = ms_gpu_encoder_submit(p->shares[i].encoder, &mine, class_weights, out + first * p->dim,
                                   err);
        p->shares[i].has_batch[slot] = rc >= 0;
    }
    if (rc >= 0) {
        p->n_submitted++;
        return MSIM_OK;
    }
    /* Devices that took their share must be rid of it before `out` goes, and of the batch before it
     * first. */
    for (int i = 0; i < p->n_shares; i++)
        if (p->shares[i].has_batch[slot]) {
            if (p->n_submitted > p->n_finished)
                finish_share(p, &p->shares[i], (slot + 1) % MSIM_BATCHES_UNDER_WAY);
            finish_share(p, &p->shares[i], slot);
        }
    return rc;
}

int ms_gpu_shares_wait(ms_gpu_shares *p, msim_error *err) {
    int slot = (int)(p->n_finished % MSIM_BATCHES_UNDER_WAY);
    if (p->n_submitted == p->n_finished)
        return ms_fail(err, MSIM_E_ARG, "embed: no batch is under way");
    for (int i = 0; i < p->n_shares; i++) finish_share(p, &p->shares[i], slot);
    p->n_finished++;
    if (p->failed[slot] < 0 && err) *err = p->errors[slot];
    return (int)p->failed[slot];
}

int ms_gpu_shares_embed_tokens(ms_gpu_shares *p, const ms_batch *batch, float *out,
                               msim_error *err) {
    return ms_gpu_encoder_embed_tokens(p->shares[0].encoder, batch, out, err);
}

void ms_gpu_shares_stage_seconds(const ms_gpu_shares *p, double *out) {
    memset(out, 0, MSIM_STAGE_COUNT * sizeof *out);
    for (int i = 0; i < p->n_shares; i++) {
        double seconds[MSIM_STAGE_COUNT] = {0};
        if (!p->shares[i].encoder) continue;
        ms_gpu_encoder_stage_seconds(p->shares[i].encoder, seconds);
        for (int s = 0; s < MSIM_STAGE_COUNT; s++) out[s] += seconds[s];
    }
}

/* ---- Search: neighbouring rows to each device ---- */

typedef struct {
    ms_gpu_shares *p;
    const ms_rows *views;
    size_t n_views;
    int64_t first, n;
    const ms_search_request *request;
    pthread_mutex_t lock; /* of what follows */
    bool is_ended;
    int64_t n_calls;
} call;

/* The first row of share i: shares begin at multiples of a scan's block where they can. */
static int64_t first_row(const call *c, int i) {
    if (i == 0) return c->first;
    if (i == c->p->n_shares) return c->first + c->n;
    int64_t row = c->first + c->n / c->p->n_shares * i,
            low = row / MS_GPU_BLOCK_ROWS * MS_GPU_BLOCK_ROWS;
    return low > c->first ? low : c->first;
}

static void load_share(void *arg, int64_t i, int worker) {
    const call *c = arg;
    ms_gpu_share *share = &c->p->shares[i];
    int64_t from = first_row(c, (int)i), to = first_row(c, (int)i + 1);
    (void)worker;
    share->n_rows = to - from;
    share->n =
        ms_gpu_search_load(share->search, c->views, c->n_views, from, to - from, &share->err);
}

static void run_shares(ms_gpu_shares *p, ms_pool_fn fn, call *c) {
    if (p->pool)
        ms_pool_run(p->pool, p->n_shares, fn, c);
    else
        fn(c, 0, 0);
}

int ms_gpu_shares_load(ms_gpu_shares *p, const ms_rows *views, size_t n_views, int64_t first,
                       int64_t n, msim_error *err) {
    call c = {.p = p, .views = views, .n_views = n_views, .first = first, .n = n};
    run_shares(p, load_share, &c);
    int rc = shares_status(p, err);
    if (rc >= 0 || p->n_shares == 1) return rc;
    for (int i = 0; i < p->n_shares; i++) /* what others loaded is forgotten too */
        (void)ms_gpu_search_load(p->shares[i].search, views, n_views, first, 0, NULL);
    return rc;
}

static void topk_share(void *arg, int64_t i, int worker) {
    const call *c = arg;
    ms_gpu_share *share = &c->p->shares[i];
    (void)worker;
    share->n =
        share->n_rows ? ms_gpu_search_topk(share->search, c->request, share->hits, &share->err) : 0;
}

int64_t ms_gpu_shares_topk(ms_gpu_shares *p, const ms_search_request *request, ms_hit *hits,
                           msim_error *err) {
    if (p->n_shares == 1) return ms_gpu_search_topk(p->shares[0].search, request, hits, err);
    call c = {.p = p, .request = request};
    ms_share_hits found[MS_GPU_MAX_DEVICES];
    run_shares(p, topk_share, &c);
    int rc = shares_status(p, err);
    if (rc < 0) return rc;
    for (int i = 0; i < p->n_shares; i++)
        found[i] =
            (ms_share_hits){.hits = p->shares[i].hits, .n = p->shares[i].n, .stride = request->k};
    return ms_merge_shares(found, (size_t)p->n_shares, request->n_query, request->k, hits);
}

/* The caller's sink sees one call at a time, and none after it asked for the end. */
static int relay(void *user, size_t query, int64_t row, double score) {
    call *c = user;
    pthread_mutex_lock(&c->lock);
    if (!c->is_ended) {
        c->n_calls++;
        c->is_ended = c->request->sink(c->request->user, query, row, score) != 0;
    }
    bool is_ended = c->is_ended;
    pthread_mutex_unlock(&c->lock);
    return is_ended;
}

static void above_share(void *arg, int64_t i, int worker) {
    call *c = arg;
    ms_gpu_share *share = &c->p->shares[i];
    ms_search_request request = *c->request;
    (void)worker;
    request.sink = relay;
    request.user = c;
    share->n = share->n_rows ? ms_gpu_search_above(share->search, &request, &share->err) : 0;
}

int64_t ms_gpu_shares_above(ms_gpu_shares *p, const ms_search_request *request, msim_error *err) {
    if (p->n_shares == 1) return ms_gpu_search_above(p->shares[0].search, request, err);
    call c = {.p = p, .request = request, .lock = PTHREAD_MUTEX_INITIALIZER};
    run_shares(p, above_share, &c);
    pthread_mutex_destroy(&c.lock);
    int rc = shares_status(p, err);
    return rc < 0 ? rc : c.n_calls;
}

void ms_gpu_shares_outcome(const ms_gpu_shares *p, ms_search_outcome *out) {
    *out = (ms_search_outcome){0};
    for (int i = 0; i < p->n_shares; i++) {
        ms_search_outcome one = {0};
        if (p->n_shares > 1 && !p->shares[i].n_rows) continue;
        ms_gpu_search_outcome(p->shares[i].search, &one);
        out->rows_nonfinite += one.rows_nonfinite;
        out->rows_evaluated += one.rows_evaluated;
        if (!out->scan) out->scan = one.scan;
    }
}
