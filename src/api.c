/* The public API over the modules: the only file that knows all of them. It picks a backend, checks
 * arguments and sizes, and counts what was done. docs: include/midisim.h. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/mem.h"
#include "base/sized.h"
#include "cpu/backend.h"
#include "cpu/levels.h"
#include "kernels/backend.h"
#include "midisim.h"
#include "midi/tokens.h"
#include "search/backend.h"
#include "search/join/join.h"
#include "corpus/corpus.h"
#include "corpus/fits/whiten.h"
#include <math.h>
#include <string.h>
#include <unistd.h>

struct msim_model {
    const ms_backend *backend; /* static */
    void *packed;              /* owned: the backend's layout of the weights */
    const ms_family *family;   /* static */
    ms_token_settings tokens;  /* of the family: how MIDI files become tokens */
    msim_model_info info;
};

struct msim_context {
    pid_t owner;               /* the process that opened it */
    const ms_backend *backend; /* static */
    void *state;               /* owned: the backend's context */
    /* static: the same, or the CPU's when the GPU does not do what AUTO is asked for */
    const ms_backend *searcher;
    void *search_state;      /* owned unless it is `state` */
    const msim_model *model; /* borrowed; NULL for a context that only searches */
    msim_options limits;
    ms_hit *hits;                    /* owned: [max_queries * max_k] */
    const msim_corpus *corpus;       /* borrowed: the one that was loaded last */
    int64_t loaded_rows, corpus_dim; /* 0 rows and dim -1 when none is loaded */
    msim_stats stats;
    struct {
        int64_t tokens, sequences;
    } under_way[MSIM_BATCHES_UNDER_WAY]; /* a ring: what was submitted and not waited for */
    int oldest, n_under_way;
};

static int check_options(const msim_options *o, msim_error *err) {
    if (o->device < MSIM_DEVICE_AUTO || o->device > MSIM_DEVICE_CUDA)
        return ms_fail(err, MSIM_E_ARG, "device: expected auto, cpu or cuda, got %d", o->device);
    if (o->gpu < MSIM_GPU_ALL)
        return ms_fail(err, MSIM_E_ARG,
                       "gpu: expected the index of a device, or -1 for all of them, got %d",
                       o->gpu);
    if (!msim_precision_name(o->precision))
        return ms_fail(err, MSIM_E_ARG, "precision: expected bf16, f32 or int8, got %d",
                       o->precision);
    if (o->max_batch_tokens < 1 || o->max_batch_tokens > (int64_t)1 << 30)
        return ms_fail(err, MSIM_E_ARG, "max_batch_tokens: expected 1..2^30, got %lld",
                       (long long)o->max_batch_tokens);
    if (o->max_batch_seqs < 1 || o->max_batch_seqs > (int64_t)1 << 24)
        return ms_fail(err, MSIM_E_ARG, "max_batch_seqs: expected 1..2^24, got %lld",
                       (long long)o->max_batch_seqs);
    if (o->max_queries < 1 || o->max_queries > 65536)
        return ms_fail(err, MSIM_E_ARG, "max_queries: expected 1..65536, got %lld",
                       (long long)o->max_queries);
    if (o->max_k < 1 || o->max_k > (int64_t)1 << 32)
        return ms_fail(err, MSIM_E_ARG, "max_k: expected 1..2^32, got %lld", (long long)o->max_k);
    return MSIM_OK;
}

static msim_options default_options(void) {
    return (msim_options){.size = sizeof(msim_options),
                          .device = MSIM_DEVICE_AUTO,
                          .isa = MSIM_ISA_AUTO,
                          .precision = MSIM_PRECISION_BF16,
                          .max_batch_tokens = 16384,
                          .max_batch_seqs = 256,
                          .max_queries = 64,
                          .max_k = 1024};
}

void msim_options_init(msim_options *options) {
    msim_options o = default_options();
    (void)ms_sized_out(options, &o, sizeof o);
}

/* The caller's options, or the defaults, checked. */
static int read_options(const msim_options *options, msim_options *out, msim_error *err) {
    *out = default_options();
    int rc = options ? ms_sized_in(out, sizeof *out, options, "options", err) : MSIM_OK;
    return rc < 0 ? rc : check_options(out, err);
}

const char *msim_isa_name(int isa) { return ms_cpu_isa_name(isa); }

int msim_isa_list(int index) { return ms_cpu_isa_list(index); }

const char *msim_isa_needs(int isa, int precision) { return ms_cpu_isa_needs(isa, precision); }

int msim_isa_is_available(int isa, int precision) {
    return ms_cpu_isa_is_available(isa, precision);
}

int msim_isa_best(void) { return ms_cpu_isa_best(); }
int msim_has_cuda(void) { return ms_gpu_compiled(); }
int msim_gpu_count(void) { return ms_gpu_visible(); }
int msim_gpu_get_info(int gpu, msim_gpu_info *out, msim_error *err) {
    msim_gpu_info info = {.size = sizeof info};
    int rc = ms_gpu_describe(gpu, &info, err);
    return rc < 0 ? rc : ms_sized_out(out, &info, sizeof info);
}

/* ---- Model ---- */

/* AUTO takes the GPU if one opens and does what is asked, else the CPU. A request for CUDA never
 * falls back to the CPU. Only the CPU has levels and precisions other than bf16. */
static bool tries_gpu(const msim_options *o) {
    if (o->device != MSIM_DEVICE_AUTO) return o->device == MSIM_DEVICE_CUDA;
    return o->isa == MSIM_ISA_AUTO && o->precision == MSIM_PRECISION_BF16 &&
           ms_gpu_usable(o->gpu, NULL);
}

/* Lay the weights out by one backend. Under AUTO a GPU must also have room for a context of these
 * limits: once the weights are there, contexts have no other choice. */
static int lay_out(msim_model *model, const ms_backend *backend, const ms_weights *weights,
                   const msim_options *o, msim_error *err) {
    void *trial = NULL;
    model->backend = backend;
    int rc = backend->model_open(weights, o, &model->packed, &model->info, err);
    if (rc < 0 || o->device != MSIM_DEVICE_AUTO || backend == ms_cpu_backend()) return rc;
    msim_options limits = *o;
    if (limits.max_k > backend->max_k) limits.max_k = backend->max_k;
    rc = backend->open(model->packed, &limits, &trial, err);
    if (rc >= 0)
        backend->close(trial);
    else
        backend->model_close(model->packed);
    return rc;
}

/* What is asked for of tokens is midisimx's. */
static int check_tokens(const msim_options *o, const ms_family *family, const char *path,
                        msim_error *err) {
    if (!msim_token_order_name(o->token_order))
        return ms_fail(err, MSIM_E_ARG, "token_order: expected 0 or 1, got %d", o->token_order);
    if (family->id == MSIM_FAMILY_MIDISIMX || (!o->token_order && !o->is_unclean)) return MSIM_OK;
    return ms_fail(
        err, MSIM_E_ARG,
        "%.300s is no model of midisimx: leave out the order of tokens and the choice of "
        "instruments",
        path);
}

int msim_model_open(const char *path, const msim_options *options, msim_model **out,
                    msim_error *err) {
    msim_options o;
    ms_weights weights;
    msim_error unusable;
    *out = NULL;
    int rc = read_options(options, &o, err);
    if (rc >= 0 && o.device == MSIM_DEVICE_CUDA && !ms_gpu_usable(o.gpu, &unusable)) {
        if (err) *err = unusable;
        rc = -unusable.code;
    }
    if (rc >= 0) rc = ms_weights_open(path, &weights, err);
    if (rc < 0) return rc;
    if ((rc = check_tokens(&o, ms_family_of_vocab(weights.vocab), path, err)) < 0) goto done;
    msim_model *model = ms_alloc(1, sizeof *model, "model", err);
    if (!model) {
        rc = -MSIM_E_MEMORY;
        goto done;
    }
    model->info = (msim_model_info){.dim = weights.dim,
                                    .depth = weights.depth,
                                    .heads = weights.heads,
                                    .vocab = weights.vocab,
                                    .precision = o.precision};
    model->family = ms_family_of_vocab(weights.vocab);
    model->info.n_classes = model->family->classes.n;
    model->info.max_tokens = model->family->max_tokens;
    model->info.takes_midi = model->family->writer != NULL;
    model->info.token_family = model->family->id;
    model->info.token_order = model->tokens.order = o.token_order;
    model->info.is_unclean = model->tokens.is_unclean = o.is_unclean != 0;
    memcpy(model->info.family, weights.family, sizeof model->info.family);
    memcpy(model->info.sha256, weights.sha256, sizeof model->info.sha256);
    bool has_gpu = tries_gpu(&o);
    if (has_gpu) rc = lay_out(model, ms_gpu_backend(), &weights, &o, err);
    if (!has_gpu || (rc < 0 && o.device == MSIM_DEVICE_AUTO))
        rc = lay_out(model, ms_cpu_backend(), &weights, &o, err);
    if (rc >= 0 && (rc = ms_map_check(&weights.stored->map, err)) < 0)
        model->backend->model_close(model->packed);
    if (rc < 0)
        ms_free(model);
    else
        *out = model;
done:
    ms_weights_close(&weights);
    return rc;
}

int msim_model_get_info(const msim_model *model, msim_model_info *out) {
    return ms_sized_out(out, &model->info, sizeof model->info);
}

void msim_model_close(msim_model *model) {
    if (!model) return;
    model->backend->model_close(model->packed);
    ms_free(model);
}

/* ---- Context ---- */

/* A context that only searches: on the GPU as AUTO and CUDA say. */
static int open_searcher(msim_context *ctx, const msim_options *o, bool is_gpu, msim_error *err) {
    ctx->searcher = is_gpu ? ms_gpu_backend() : ms_cpu_backend();
    return ctx->searcher->open(NULL, o, &ctx->search_state, err);
}

static int open_states(msim_context *ctx, const msim_options *options, msim_error *err) {
    msim_options o = *options;
    bool is_auto = o.device == MSIM_DEVICE_AUTO;
    if (!ctx->model) {
        msim_error unusable;
        if (o.device == MSIM_DEVICE_CUDA && !ms_gpu_usable(o.gpu, &unusable)) {
            if (err) *err = unusable;
            return -unusable.code;
        }
        o.precision = MSIM_PRECISION_BF16; /* of a model; there is none */
        bool has_gpu = tries_gpu(&o);
        int rc = has_gpu ? open_searcher(ctx, &o, true, err) : MSIM_OK;
        if (!has_gpu || (rc < 0 && is_auto)) rc = open_searcher(ctx, &o, false, err);
        ctx->backend = ctx->searcher;
        ctx->state = ctx->search_state;
        return rc;
    }
    /* Device, level and precision of the model were chosen when its weights were laid out. */
    ctx->backend = ctx->model->backend;
    o.isa = ctx->model->info.isa;
    o.precision = ctx->model->info.precision;
    bool is_split = is_auto && ctx->backend->max_k && o.max_k > ctx->backend->max_k;
    if (is_split) o.max_k = 1;
    int rc = ctx->backend->open(ctx->model->packed, &o, &ctx->state, err);
    if (rc >= 0 && is_split) return open_searcher(ctx, options, false, err);
    ctx->searcher = ctx->backend;
    ctx->search_state = ctx->state;
    return rc;
}

/* A forked child works on the CPU with this thread alone; a CUDA device is its parent's. */
static bool is_foreign(const msim_context *ctx, const ms_backend *backend) {
    return backend != ms_cpu_backend() && getpid() != ctx->owner;
}

static void close_states(msim_context *ctx) {
    /* A child cannot give memory back to the device: it stays with the parent. */
    if (ctx->search_state && ctx->search_state != ctx->state && !is_foreign(ctx, ctx->searcher))
        ctx->searcher->close(ctx->search_state);
    if (ctx->state && !is_foreign(ctx, ctx->backend)) ctx->backend->close(ctx->state);
}

int msim_context_open(const msim_model *model, const msim_options *options, msim_context **out,
                      msim_error *err) {
    msim_options o;
    *out = NULL;
    int rc = read_options(options, &o, err);
    if (rc < 0) return rc;
    msim_context *ctx = ms_alloc(1, sizeof *ctx, "context", err);
    if (!ctx) return -MSIM_E_MEMORY;
    ctx->owner = getpid();
    ctx->model = model;
    ctx->limits = o;
    ctx->corpus_dim = -1;
    size_t n_hits;
    if (!ms_mul_size((size_t)o.max_queries, (size_t)o.max_k, &n_hits))
        rc = ms_fail(err, MSIM_E_LIMIT, "max_queries x max_k does not fit in memory");
    if (rc >= 0 && !(ctx->hits = ms_alloc(n_hits, sizeof *ctx->hits, "search results", err)))
        rc = -MSIM_E_MEMORY;
    if (rc >= 0) rc = open_states(ctx, &o, err);
    if (rc < 0) {
        close_states(ctx);
        ms_free(ctx->hits);
        ms_free(ctx);
        return rc;
    }
    *out = ctx;
    return MSIM_OK;
}

void msim_context_close(msim_context *ctx) {
    if (!ctx) return;
    close_states(ctx);
    ms_free(ctx->hits);
    ms_free(ctx);
}

int msim_context_stats(const msim_context *ctx, msim_stats *out) {
    msim_stats stats = ctx->stats;
    stats.search_device = ctx->searcher == ms_cpu_backend() ? MSIM_DEVICE_CPU : MSIM_DEVICE_CUDA;
    ctx->backend->stage_seconds(ctx->state, stats.stage_seconds);
    return ms_sized_out(out, &stats, sizeof stats);
}

/* ---- Tokeniser ---- */

void msim_tokenizer_options_init(msim_tokenizer_options *options) {
    const msim_tokenizer_options o = {.size = sizeof o};
    (void)ms_sized_out(options, &o, sizeof o);
}

static int refuse_tokens(msim_error *err, const char *what, const char *expected, int got) {
    return ms_fail(err, MSIM_E_ARG, "tokeniser: %s: expected %s, got %d", what, expected, got);
}

int msim_tokenizer_open_family(const msim_tokenizer_options *options, msim_tokenizer **out,
                               msim_error *err) {
    msim_tokenizer_options o = msim_tokenizer_options_default();
    *out = NULL;
    int rc = options ? ms_sized_in(&o, sizeof o, options, "tokeniser options", err) : MSIM_OK;
    if (rc < 0) return rc;
    const ms_family *family = ms_family_of(o.family);
    if (!family) return refuse_tokens(err, "family", "midisim (0) or midisimx (1)", o.family);
    if (!msim_token_order_name(o.token_order))
        return refuse_tokens(err, "token_order", "0 or 1", o.token_order);
    if (o.center_pitch < 0 || o.center_pitch > 127)
        return refuse_tokens(err, "center_pitch", "0..127", o.center_pitch);
    if (o.family == MSIM_FAMILY_MIDISIM && (o.token_order || o.is_unclean || o.center_pitch))
        return ms_fail(
            err, MSIM_E_ARG,
            "tokeniser: token_order, is_unclean and center_pitch are for midisimx: leave "
            "them 0 for midisim");
    const ms_token_settings settings = {
        .order = o.token_order, .is_unclean = o.is_unclean != 0, .center_pitch = o.center_pitch};
    return ms_tokenizer_open(family->writer, &settings, out, err);
}

int msim_tokenizer_open(const msim_model *model, msim_tokenizer **out, msim_error *err) {
    *out = NULL;
    if (!model) return msim_tokenizer_open_family(NULL, out, err);
    if (!model->family->writer)
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "MIDI files for this model: its vocabulary has %lld tokens, and only the "
                       "%lld of midisim and the %lld of midisimx are known; give it token ids "
                       "instead",
                       (long long)model->info.vocab,
                       (long long)ms_family_of(MSIM_FAMILY_MIDISIM)->vocab,
                       (long long)ms_family_of(MSIM_FAMILY_MIDISIMX)->vocab);
    return ms_tokenizer_open(model->family->writer, &model->tokens, out, err);
}

/* ---- Embed ---- */

static int make_batch(msim_context *ctx, const int32_t *ids, const int64_t *starts, size_t n_seq,
                      ms_batch *batch, msim_error *err) {
    if (!ctx->model)
        return ms_fail(err, MSIM_E_ARG, "embed: this context was opened without a model");
    if (n_seq > (size_t)ctx->limits.max_batch_seqs)
        return ms_fail(err, MSIM_E_LIMIT, "embed: expected at most %lld sequences, got %zu",
                       (long long)ctx->limits.max_batch_seqs, n_seq);
    if (n_seq && starts[n_seq] > ctx->limits.max_batch_tokens)
        return ms_fail(err, MSIM_E_LIMIT, "embed: expected at most %lld tokens, got %lld",
                       (long long)ctx->limits.max_batch_tokens, (long long)starts[n_seq]);
    return ms_batch_init(batch, ids, starts, n_seq, ctx->model->info.vocab, err);
}

static int check_class_weights(const msim_context *ctx, const float *class_weights,
                               msim_error *err) {
    for (int i = 0; class_weights && i < ctx->model->info.n_classes; i++)
        if (!(fabsf(class_weights[i]) <= (float)MSIM_MAX_CLASS_WEIGHT))
            return ms_fail(err, MSIM_E_ARG,
                           "class_weights[%d]: expected a number of -%g..%g, got %g", i,
                           MSIM_MAX_CLASS_WEIGHT, MSIM_MAX_CLASS_WEIGHT, class_weights[i]);
    return MSIM_OK;
}

static int check_process(const msim_context *ctx, const char *what, msim_error *err) {
    if (!is_foreign(ctx, ctx->backend) && !is_foreign(ctx, ctx->searcher)) return MSIM_OK;
    return ms_fail(err, MSIM_E_DEVICE,
                   "%s: this context uses a CUDA device and was opened before fork(); open one "
                   "in the child",
                   what);
}

/* Only stats and close may come between a submit and its wait. */
static int check_idle(const msim_context *ctx, const char *what, msim_error *err) {
    int rc = check_process(ctx, what, err);
    if (rc < 0 || !ctx->n_under_way) return rc;
    return ms_fail(err, MSIM_E_ARG, "%s: %d batch%s under way: wait for %s first", what,
                   ctx->n_under_way, ctx->n_under_way == 1 ? " is" : "es are",
                   ctx->n_under_way == 1 ? "it" : "them");
}

int msim_context_embed(msim_context *ctx, const int32_t *ids, const int64_t *starts, size_t n_seq,
                       const float *class_weights, float *out, msim_error *err) {
    ms_batch batch;
    double t = ms_clock_now();
    int rc = check_idle(ctx, "embed", err);
    if (rc >= 0) rc = make_batch(ctx, ids, starts, n_seq, &batch, err);
    if (rc >= 0) rc = check_class_weights(ctx, class_weights, err);
    if (rc >= 0 && n_seq) rc = ctx->backend->embed(ctx->state, &batch, class_weights, out, err);
    if (rc < 0) return rc;
    ctx->stats.tokens += batch.n_tokens;
    ctx->stats.sequences += (int64_t)n_seq;
    ctx->stats.embed_seconds += ms_clock_now() - t;
    return MSIM_OK;
}

int msim_context_embed_submit(msim_context *ctx, const int32_t *ids, const int64_t *starts,
                              size_t n_seq, const float *class_weights, float *out,
                              msim_error *err) {
    ms_batch batch;
    double t = ms_clock_now();
    int rc = check_process(ctx, "embed", err);
    if (rc < 0) return rc;
    if (ctx->n_under_way == MSIM_BATCHES_UNDER_WAY)
        return ms_fail(err, MSIM_E_LIMIT,
                       "embed: %d batches are under way already; wait for one first",
                       MSIM_BATCHES_UNDER_WAY);
    rc = make_batch(ctx, ids, starts, n_seq, &batch, err);
    if (rc >= 0) rc = check_class_weights(ctx, class_weights, err);
    if (rc >= 0 && n_seq)
        rc = ctx->backend->embed_submit(ctx->state, &batch, class_weights, out, err);
    if (rc < 0) return rc;
    int at = (ctx->oldest + ctx->n_under_way++) % MSIM_BATCHES_UNDER_WAY;
    ctx->under_way[at].tokens = batch.n_tokens;
    ctx->under_way[at].sequences = (int64_t)n_seq;
    ctx->stats.embed_seconds += ms_clock_now() - t;
    return MSIM_OK;
}

int msim_context_embed_wait(msim_context *ctx, msim_error *err) {
    double t = ms_clock_now();
    int rc = check_process(ctx, "embed", err);
    if (rc < 0) return rc;
    if (!ctx->n_under_way) return ms_fail(err, MSIM_E_ARG, "embed: no batch is under way");
    int64_t tokens = ctx->under_way[ctx->oldest].tokens,
            sequences = ctx->under_way[ctx->oldest].sequences;
    ctx->oldest = (ctx->oldest + 1) % MSIM_BATCHES_UNDER_WAY;
    ctx->n_under_way--;
    rc = sequences ? ctx->backend->embed_wait(ctx->state, err) : MSIM_OK;
    if (rc < 0) return rc;
    ctx->stats.tokens += tokens;
    ctx->stats.sequences += sequences;
    ctx->stats.embed_seconds += ms_clock_now() - t;
    return MSIM_OK;
}

int msim_context_embed_tokens(msim_context *ctx, const int32_t *ids, const int64_t *starts,
                              size_t n_seq, float *out, msim_error *err) {
    ms_batch batch;
    double t = ms_clock_now();
    int rc = check_idle(ctx, "embed", err);
    if (rc >= 0) rc = make_batch(ctx, ids, starts, n_seq, &batch, err);
    if (rc >= 0 && n_seq) rc = ctx->backend->embed_tokens(ctx->state, &batch, out, err);
    if (rc < 0) return rc;
    ctx->stats.tokens += batch.n_tokens;
    ctx->stats.sequences += (int64_t)n_seq;
    ctx->stats.embed_seconds += ms_clock_now() - t;
    return MSIM_OK;
}

void msim_l2_normalize(float *rows, size_t n, size_t dim) {
    for (size_t i = 0; i < n; i++) {
        float *row = rows + i * dim;
        /* The sum is kept in double: one rounding to f32 then stands for any order of summation. */
        double sum = 0.0;
        for (size_t j = 0; j < dim; j++) sum += (double)row[j] * (double)row[j];
        float norm = (float)sqrt(sum);
        if (norm < 1e-12f) norm = 1e-12f;
        for (size_t j = 0; j < dim; j++) row[j] /= norm;
    }
}

/* ---- Search ---- */

static msim_search_options default_search_options(void) {
    return (msim_search_options){
        .size = sizeof(msim_search_options), .metric = MSIM_METRIC_COSINE, .scan = MSIM_SCAN_AUTO};
}

void msim_search_options_init(msim_search_options *options) {
    msim_search_options o = default_search_options();
    (void)ms_sized_out(options, &o, sizeof o);
}

/* The GPU does not take these rows, and AUTO was asked for: this context searches on the CPU from
 * now on. */
static int search_on_cpu(msim_context *ctx, msim_error *err) {
    void *state;
    int rc = ms_cpu_backend()->open(NULL, &ctx->limits, &state, err);
    if (rc < 0) return rc;
    if (ctx->search_state != ctx->state || !ctx->model) ctx->searcher->close(ctx->search_state);
    ctx->searcher = ms_cpu_backend();
    ctx->search_state = state;
    if (!ctx->model) {
        ctx->backend = ctx->searcher;
        ctx->state = state;
    }
    return MSIM_OK;
}

int msim_context_load_rows(msim_context *ctx, const msim_corpus *corpus, int64_t first, int64_t n,
                           msim_error *err) {
    msim_corpus_info info = {.size = sizeof info};
    size_t n_views;
    int rc = check_idle(ctx, "corpus", err);
    if (rc >= 0) rc = msim_corpus_get_info(corpus, &info);
    if (rc < 0) return rc;
    if (ctx->model && info.dim != ctx->model->info.dim)
        return ms_fail(err, MSIM_E_ARG, "corpus: expected rows of the model's width %lld, got %lld",
                       (long long)ctx->model->info.dim, (long long)info.dim);
    if (first < 0 || n < 0 || first > info.rows || n > info.rows - first)
        return ms_fail(err, MSIM_E_ARG,
                       "corpus: expected a range of its %lld rows, got %lld rows from %lld",
                       (long long)info.rows, (long long)n, (long long)first);
    const ms_rows *views = ms_corpus_views(corpus, &n_views);
    rc = ctx->searcher->load_rows(ctx->search_state, views, n_views, first, n, err);
    if (rc < 0 && ctx->searcher != ms_cpu_backend() && ctx->limits.device == MSIM_DEVICE_AUTO) {
        rc = search_on_cpu(ctx, err);
        if (rc >= 0)
            rc = ctx->searcher->load_rows(ctx->search_state, views, n_views, first, n, err);
    }
    ctx->loaded_rows = rc < 0 ? 0 : n;
    ctx->corpus = corpus;
    ctx->corpus_dim = rc < 0 ? -1 : info.dim; /* a backend that failed has forgotten the earlier
                                               * rows too */
    return rc < 0 ? rc : MSIM_OK;
}

int msim_context_load_corpus(msim_context *ctx, const msim_corpus *corpus, msim_error *err) {
    return msim_context_load_rows(ctx, corpus, 0, msim_corpus_rows(corpus), err);
}

static int check_search_options(const msim_search_options *o, msim_error *err) {
    if (o->metric != MSIM_METRIC_COSINE && o->metric != MSIM_METRIC_IP)
        return ms_fail(err, MSIM_E_ARG, "search: metric: expected cosine or ip, got %d", o->metric);
    if (!msim_scan_name(o->scan))
        return ms_fail(err, MSIM_E_ARG,
                       "search: scan: expected auto, f64, f32, bf16 or int8, got %d", o->scan);
    if (o->metric == MSIM_METRIC_IP && (o->scan == MSIM_SCAN_BF16 || o->scan == MSIM_SCAN_INT8))
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "search: scan: expected auto, f64 or f32 for metric ip, got %s",
                       msim_scan_name(o->scan));
    if (o->n_excluded && !o->excluded)
        return ms_fail(err, MSIM_E_ARG, "search: excluded rows: the list of %zu is NULL",
                       o->n_excluded);
    for (size_t i = 1; i < o->n_excluded; i++)
        if (o->excluded[i - 1] >= o->excluded[i])
            return ms_fail(err, MSIM_E_ARG,
                           "search: excluded row %zu: rows must ascend, but after %lld comes %lld",
                           i, (long long)o->excluded[i - 1], (long long)o->excluded[i]);
    return MSIM_OK;
}

/* Check a request of a search, except for k and threshold, and fill it in; `own` keeps its
 * options. */
static int make_request(const msim_context *ctx, const msim_search_options *options,
                        const float *queries, size_t n_query, msim_search_options *own,
                        ms_search_request *out, msim_error *err) {
    int rc = check_idle(ctx, "search", err);
    if (rc < 0) return rc;
    if (ctx->corpus_dim < 0) return ms_fail(err, MSIM_E_ARG, "search: no corpus is loaded");
    if (n_query > (size_t)ctx->limits.max_queries)
        return ms_fail(err, MSIM_E_LIMIT, "search: expected at most %lld queries, got %zu",
                       (long long)ctx->limits.max_queries, n_query);
    for (size_t i = 0; i < n_query * (size_t)ctx->corpus_dim; i++)
        if (!isfinite(queries[i]))
            return ms_fail(err, MSIM_E_ARG, "search: query %zu: expected finite numbers, got %g",
                           i / (size_t)ctx->corpus_dim, queries[i]);
    *own = default_search_options();
    rc = options ? ms_sized_in(own, sizeof *own, options, "search options", err) : MSIM_OK;
    *out = (ms_search_request){.queries = queries, .n_query = n_query, .options = own};
    return rc < 0 ? rc : check_search_options(own, err);
}

static void count_search(msim_context *ctx, size_t n_query, double began) {
    ms_search_outcome outcome;
    ctx->searcher->search_outcome(ctx->search_state, &outcome);
    ctx->stats.rows_scored += ctx->loaded_rows * (int64_t)n_query;
    ctx->stats.rows_nonfinite = outcome.rows_nonfinite;
    ctx->stats.rows_evaluated = outcome.rows_evaluated;
    ctx->stats.scan = outcome.scan;
    ctx->stats.search_seconds += ms_clock_now() - began;
}

int64_t msim_context_search_with(msim_context *ctx, const msim_search_options *options,
                                 const float *queries, size_t n_query, int64_t k, int64_t *rows,
                                 double *scores, msim_error *err) {
    double began = ms_clock_now();
    msim_search_options o;
    ms_search_request request;
    int rc = make_request(ctx, options, queries, n_query, &o, &request, err);
    if (rc < 0) return rc;
    if (k < 0 || k > ctx->limits.max_k)
        return ms_fail(err, MSIM_E_LIMIT, "search: k: expected 0..%lld, got %lld",
                       (long long)ctx->limits.max_k, (long long)k);
    request.k = k;
    int64_t n = ctx->searcher->score_topk(ctx->search_state, &request, ctx->hits, err);
    if (n >= 0) rc = msim_corpus_check(ctx->corpus, err);
    if (n < 0 || rc < 0) return n < 0 ? n : rc;
    for (size_t q = 0; q < n_query; q++)
        for (int64_t i = 0; i < n; i++) {
            rows[(int64_t)q * k + i] = ctx->hits[(int64_t)q * k + i].row;
            scores[(int64_t)q * k + i] = ctx->hits[(int64_t)q * k + i].score;
        }
    count_search(ctx, n_query, began);
    return n;
}

int64_t msim_context_search(msim_context *ctx, const float *queries, size_t n_query, int64_t k,
                            int64_t *rows, double *scores, msim_error *err) {
    return msim_context_search_with(ctx, NULL, queries, n_query, k, rows, scores, err);
}

int64_t msim_context_search_above(msim_context *ctx, const msim_search_options *options,
                                  const float *queries, size_t n_query, double threshold,
                                  msim_hit_sink sink, void *user, msim_error *err) {
    double began = ms_clock_now();
    msim_search_options o;
    ms_search_request request;
    int rc = make_request(ctx, options, queries, n_query, &o, &request, err);
    if (rc < 0) return rc;
    if (isnan(threshold))
        return ms_fail(err, MSIM_E_ARG, "search: threshold: expected a number, got NaN");
    request.threshold = threshold;
    request.sink = sink;
    request.user = user;
    int64_t n = ctx->searcher->score_above(ctx->search_state, &request, err);
    if (n >= 0) rc = msim_corpus_check(ctx->corpus, err);
    if (n < 0 || rc < 0) return n < 0 ? n : rc;
    count_search(ctx, n_query, began);
    return n;
}

/* ---- Join ---- */

void msim_join_options_init(msim_join_options *options) {
    msim_join_options o;
    ms_join_options_set(&o);
    (void)ms_sized_out(options, &o, sizeof o);
}

static int64_t join_with(const msim_corpus *a, const msim_corpus *b, ms_join_setup *setup,
                         const msim_options *options, msim_join_stats *stats, msim_error *err) {
    ms_join_views left = {0}, right = {0};
    int isa;
    left.views = ms_corpus_views(a, &left.n_views);
    if (b && b != a) right.views = ms_corpus_views(b, &right.n_views);
    int rc = ms_cpu_isa_choose(options->isa, &isa, err);
    if (rc >= 0) rc = ms_pool_open(options->threads, &setup->pool, err);
    if (rc < 0) return rc;
    const ms_cpu_kernels *kernels = ms_cpu_kernels_get(isa);
    ms_join_kernels join = *ms_cpu_join_kernels(isa);
    if (setup->device) join.steps_per_score = setup->device->steps_per_score;
    setup->kernels = &join;
    setup->squares = kernels->squares_f64;
    setup->dots = kernels->dots_f64;
    int64_t n = ms_join_run(setup, &left, &right, stats, err);
    ms_pool_close(setup->pool);
    if (n >= 0) rc = msim_corpus_check(a, err);
    if (n >= 0 && rc >= 0 && b) rc = msim_corpus_check(b, err);
    return rc < 0 ? rc : n;
}

static int join_on_cuda(ms_join_setup *setup, int gpu, msim_error *err) {
    if (setup->options->scan == MSIM_SCAN_F64)
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "join: scan: expected auto or int8 on CUDA, got f64: it runs on the CPU");
    if (!ms_gpu_usable(gpu, err)) return -MSIM_E_DEVICE;
    setup->device = ms_gpu_join_device();
    setup->gpu = gpu;
    return MSIM_OK;
}

int64_t msim_join(const msim_corpus *a, const msim_corpus *b, double threshold,
                  const msim_join_options *options, msim_join_sink sink, void *user,
                  msim_join_stats *stats, msim_error *err) {
    msim_join_options o;
    msim_options device;
    msim_join_stats own;
    ms_join_options_set(&o);
    int rc = options ? ms_sized_in(&o, sizeof o, options, "join options", err) : MSIM_OK;
    if (rc >= 0) rc = ms_join_options_check(&o, threshold, err);
    if (rc >= 0) rc = read_options(o.options, &device, err);
    if (rc < 0) return rc;
    ms_join_setup setup = {.options = &o, .threshold = threshold, .sink = sink, .user = user};
    if (device.device == MSIM_DEVICE_CUDA) rc = join_on_cuda(&setup, device.gpu, err);
    if (rc < 0) return rc;
    int64_t n = join_with(a, b, &setup, &device, &own, err);
    if (n >= 0 && stats) rc = ms_sized_out(stats, &own, sizeof own);
    return rc < 0 ? rc : n;
}

/* ---- Whitening ---- */

static const msim_whitening_options whitening_defaults = {
    .size = sizeof whitening_defaults,
    .shrink = MSIM_WHITENING_SHRINK,
    .nuisance_weight = MSIM_WHITENING_NUISANCE,
    .prior_rows = MSIM_WHITENING_PRIOR_ROWS};

void msim_whitening_options_init(msim_whitening_options *options) {
    (void)ms_sized_out(options, &whitening_defaults, sizeof whitening_defaults);
}

static int check_whitening_options(const msim_whitening_options *o, msim_error *err) {
    if (!(o->shrink > 0.0 && o->shrink <= MSIM_WHITENING_MOST_SHRINK))
        return ms_fail(err, MSIM_E_ARG,
                       "whitening: shrink: expected more than 0, at most %g, got %g",
                       MSIM_WHITENING_MOST_SHRINK, o->shrink);
    if (o->max_rows && o->max_rows < MSIM_WHITENING_LEAST_SAMPLE)
        return ms_fail(err, MSIM_E_ARG,
                       "whitening: max_rows: expected 0 (all) or at least %d, got %lld",
                       MSIM_WHITENING_LEAST_SAMPLE, (long long)o->max_rows);
    if (o->prior_rows < 0)
        return ms_fail(err, MSIM_E_ARG, "whitening: prior_rows: expected 0 or more, got %lld",
                       (long long)o->prior_rows);
    if (!(o->nuisance_weight >= 0.0 && o->nuisance_weight <= MSIM_WHITENING_MOST_NUISANCE))
        return ms_fail(err, MSIM_E_ARG, "whitening: nuisance_weight: expected 0 to %g, got %g",
                       MSIM_WHITENING_MOST_NUISANCE, o->nuisance_weight);
    if (o->model_sha256 && strspn(o->model_sha256, "0123456789abcdef") != 64)
        return ms_fail(err, MSIM_E_ARG, "whitening: model_sha256: expected 64 hexadecimal digits");
    if (o->model_sha256 && o->model_sha256[64])
        return ms_fail(err, MSIM_E_ARG, "whitening: model_sha256: expected 64 digits, got more");
    return MSIM_OK;
}

int msim_whitening_fit(const msim_corpus *corpus, const msim_whitening_options *options,
                       msim_whitening **out, msim_error *err) {
    msim_whitening_options o = whitening_defaults;
    ms_fit_setup setup = {.options = &o};
    int isa;
    *out = NULL;
    int rc = options ? ms_sized_in(&o, sizeof o, options, "whitening options", err) : MSIM_OK;
    if (rc >= 0) rc = check_whitening_options(&o, err);
    if (rc >= 0) rc = ms_cpu_isa_choose(o.isa, &isa, err);
    if (rc >= 0) rc = ms_pool_open(o.threads, &setup.pool, err);
    if (rc < 0) return rc;
    setup.kernels = ms_cpu_whiten_kernels(isa);
    rc = ms_corpus_fit(corpus, &setup, out, err);
    ms_pool_close(setup.pool);
    return rc;
}

int msim_whitening_apply(const msim_whitening *w, const float *rows, size_t n, float *out,
                         int threads, msim_error *err) {
    enum { FEW = 64 }; /* rows for which no threads are started */
    ms_pool *pool = NULL;
    int rc = n > FEW && threads != 1 ? ms_pool_open(threads, &pool, err) : MSIM_OK;
    if (rc < 0) return rc;
    rc = ms_whiten_apply(w, ms_cpu_whiten_kernels(ms_cpu_isa_best()), pool, rows, n, out, err);
    ms_pool_close(pool);
    return rc;
}
