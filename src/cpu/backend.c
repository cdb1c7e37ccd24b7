/* The CPU backend: implements search/backend.h. A context owns the thread pool, which encoder and
 * search share. The kernels are those of the level that the model was packed for, or of the best
 * level if there is no model. */
#include "cpu/backend.h"
#include "base/mem.h"
#include "cpu/levels.h"
#include "base/pool.h"
#include "cpu/encoder/encoder.h"
#include "cpu/search/search.h"
#include <string.h>

typedef struct {
    ms_pool *pool;           /* owned */
    ms_cpu_encoder *encoder; /* owned; NULL for a context that only searches */
    ms_cpu_search *search;   /* owned */
} context;

static int model_open(const ms_weights *weights, const msim_options *options, void **out,
                      msim_model_info *chosen, msim_error *err) {
    int isa;
    ms_cpu_model *model;
    int rc = ms_cpu_isa_choose(options->isa, &isa, err);
    if (rc >= 0)
        rc = ms_cpu_model_open(ms_cpu_kernels_get(isa), weights, options->precision, &model, err);
    if (rc < 0) return rc;
    chosen->device = MSIM_DEVICE_CPU;
    chosen->isa = isa;
    *out = model;
    return MSIM_OK;
}

static void model_close(void *model) { ms_cpu_model_close(model); }

static void context_close(void *arg) {
    context *c = arg;
    if (!c) return;
    ms_cpu_encoder_close(c->encoder);
    ms_cpu_search_close(c->search);
    ms_pool_close(c->pool);
    ms_free(c);
}

static int context_open(const void *model, const msim_options *options, void **out,
                        msim_error *err) {
    int isa;
    int rc = ms_cpu_isa_choose(options->isa, &isa, err);
    if (rc < 0) return rc;
    context *c = ms_alloc(1, sizeof *c, "CPU context", err);
    if (!c) return -MSIM_E_MEMORY;
    rc = ms_pool_open(options->threads, &c->pool, err);
    if (rc >= 0 && model) rc = ms_cpu_encoder_open(model, c->pool, options, &c->encoder, err);
    if (rc >= 0) rc = ms_cpu_search_open(c->pool, isa, options, &c->search, err);
    if (rc < 0) {
        context_close(c);
        return rc;
    }
    *out = c;
    return MSIM_OK;
}

static int embed(void *arg, const ms_batch *batch, const float *class_weights, float *out,
                 msim_error *err) {
    (void)err;
    ms_cpu_encoder_embed(((context *)arg)->encoder, batch, class_weights, out);
    return MSIM_OK;
}

static int embed_tokens(void *arg, const ms_batch *batch, float *out, msim_error *err) {
    (void)err;
    ms_cpu_encoder_embed_tokens(((context *)arg)->encoder, batch, out);
    return MSIM_OK;
}

/* Nothing is queued on the CPU: submit is embed. */
static int embed_wait(void *arg, msim_error *err) {
    (void)arg;
    (void)err;
    return MSIM_OK;
}

static int load_rows(void *arg, const ms_rows *views, size_t n_views, int64_t first, int64_t n,
                     msim_error *err) {
    return ms_cpu_search_load(((context *)arg)->search, views, n_views, first, n, err);
}

static int64_t score_topk(void *arg, const ms_search_request *request, ms_hit *hits,
                          msim_error *err) {
    return ms_cpu_search_topk(((context *)arg)->search, request, hits, err);
}

static int64_t score_above(void *arg, const ms_search_request *request, msim_error *err) {
    return ms_cpu_search_above(((context *)arg)->search, request, err);
}

static void search_outcome(const void *arg, ms_search_outcome *out) {
    ms_cpu_search_outcome(((const context *)arg)->search, out);
}

static void stage_seconds(const void *arg, double *out) {
    const context *c = arg;
    memset(out, 0, MSIM_STAGE_COUNT * sizeof *out);
    if (c->encoder) ms_cpu_encoder_stage_seconds(c->encoder, out);
}

const ms_backend *ms_cpu_backend(void) {
    static const ms_backend backend = {.name = "cpu",
                                       .model_open = model_open,
                                       .model_close = model_close,
                                       .open = context_open,
                                       .close = context_close,
                                       .embed = embed,
                                       .embed_tokens = embed_tokens,
                                       .embed_submit = embed,
                                       .embed_wait = embed_wait,
                                       .load_rows = load_rows,
                                       .score_topk = score_topk,
                                       .score_above = score_above,
                                       .search_outcome = search_outcome,
                                       .stage_seconds = stage_seconds};
    return &backend;
}
