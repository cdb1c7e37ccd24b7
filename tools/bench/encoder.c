/* The encoder: whole passes and their stages, beside the limit of the level's products. Contract:
 * tools/bench/bench.h.
 *
 * A case is a list of batches that one round runs through: one batch of made ids for a length, or a
 * token file's sequences, longest first, as many to a batch as fit its budget. */
#define _GNU_SOURCE
#include "bench.h"
#include "base/mem.h"
#include "common/skips.h"
#include "common/watch.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_TOKENS 16384
#define BATCH_SEQS 256

typedef struct {
    int32_t *ids;    /* owned: [starts[n]] */
    int64_t *starts; /* owned: [n + 1], within ids */
    size_t n, ids_cap, starts_cap;
    size_t *batches; /* owned: [n_batches + 1], first sequence of each */
    size_t n_batches, batches_cap;
    int64_t most_tokens, most_seqs; /* of a batch */
} workload;

typedef struct {
    const ms_bench_settings *s;
    msim_model *model; /* owned */
    msim_options options;
    msim_model_info info;
    double limit; /* FLOP/s of the level on these threads; NaN: not known */
    float *out;   /* owned: [most_seqs, dim] */
    size_t out_cap;
} encoder_bench;

/* ---- Work ---- */

static void workload_free(workload *w) {
    ms_free(w->ids);
    ms_free(w->starts);
    ms_free(w->batches);
    *w = (workload){0};
}

static int add_sequence(workload *w, const int32_t *ids, size_t n, msim_error *err) {
    int rc = ms_grow((void **)&w->starts, &w->starts_cap, w->n + 2, sizeof *w->starts,
                     "token sequences", err);
    if (rc < 0) return rc;
    if (w->n == 0) w->starts[0] = 0;
    size_t at = (size_t)w->starts[w->n];
    rc = ms_grow((void **)&w->ids, &w->ids_cap, at + n + 1, sizeof *w->ids, "token ids", err);
    if (rc < 0) return rc;
    memcpy(w->ids + at, ids, n * sizeof *ids);
    w->starts[++w->n] = (int64_t)(at + n);
    return 0;
}

/* Cut the sequences, in their order, into batches. */
static int cut_batches(workload *w, int64_t tokens, size_t seqs, msim_error *err) {
    for (size_t from = 0, to; from < w->n; from = to) {
        to = from + 1;
        while (to < w->n && to - from < seqs && w->starts[to + 1] - w->starts[from] <= tokens) to++;
        int rc = ms_grow((void **)&w->batches, &w->batches_cap, w->n_batches + 2,
                         sizeof *w->batches, "batches", err);
        if (rc < 0) return rc;
        w->batches[w->n_batches++] = from;
        w->batches[w->n_batches] = to;
        int64_t n = w->starts[to] - w->starts[from];
        if (n > w->most_tokens) w->most_tokens = n;
        if ((int64_t)(to - from) > w->most_seqs) w->most_seqs = (int64_t)(to - from);
    }
    return 0;
}

static int make_length(workload *w, int64_t length, int64_t batch, int64_t vocab, msim_error *err) {
    ms_bench_random random = {.state = (uint64_t)length};
    int32_t *ids = ms_alloc((size_t)length, sizeof *ids, "token ids", err);
    int rc = ids ? 0 : -MSIM_E_MEMORY;
    for (int64_t b = 0; rc >= 0 && b < batch; b++) {
        for (int64_t i = 0; i < length; i++)
            ids[i] = (int32_t)(ms_bench_random_next(&random) % (vocab < 384 ? vocab : 384));
        rc = add_sequence(w, ids, (size_t)length, err);
    }
    ms_free(ids);
    return rc < 0 ? rc : cut_batches(w, INT64_MAX, (size_t)batch, err);
}

typedef struct {
    int32_t *ids; /* owned */
    int64_t n_ids;
} sequence;

static int longest_first(const void *a, const void *b) {
    const sequence *x = a, *y = b;
    return (x->n_ids < y->n_ids) - (x->n_ids > y->n_ids);
}

/* A copy of a line's ids. */
static int keep_ids(const msim_walk_item *line, sequence *out, msim_error *err) {
    const size_t n = (size_t)line->starts[1];
    out->ids = ms_alloc(n, sizeof *out->ids, "token ids", err);
    if (!out->ids) return -MSIM_E_MEMORY;
    memcpy(out->ids, line->ids, n * sizeof *out->ids);
    out->n_ids = (int64_t)n;
    return 0;
}

static int read_tokens(encoder_bench *b, workload *w, msim_error *err) {
    ms_cli_skips *skips = NULL;
    msim_walk *walk = NULL;
    msim_walk_options o = ms_cli_walk_options();
    msim_walk_item line = {.size = sizeof line};
    sequence *all = NULL;
    size_t n = 0, cap = 0;
    o.from_tokens = b->s->tokens;
    o.model = b->model;
    o.max_tokens = b->s->max_tokens;
    int rc = ms_cli_skips_open(NULL, NULL, &skips, err);
    if (rc >= 0) rc = msim_walk_open(&o, &walk, err);
    while (rc >= 0 && (rc = msim_walk_next(walk, &line, err)) > 0) {
        if (line.reason != MSIM_SKIP_NONE) {
            ms_cli_skips_add(skips, line.path, line.reason, line.detail, line.is_failure);
            continue;
        }
        rc = ms_grow((void **)&all, &cap, n + 1, sizeof *all, "token sequences", err);
        if (rc >= 0) rc = keep_ids(&line, all + n, err);
        n += rc >= 0;
    }
    if (rc >= 0 && n == 0)
        rc = ms_fail(err, MSIM_E_EMPTY, "tokens: %s: the file holds no token sequences",
                     b->s->tokens);
    if (n) qsort(all, n, sizeof *all, longest_first);
    for (size_t i = 0; i < n; i++) {
        if (rc >= 0) rc = add_sequence(w, all[i].ids, (size_t)all[i].n_ids, err);
        ms_free(all[i].ids);
    }
    ms_free(all);
    if (rc >= 0) rc = cut_batches(w, BATCH_TOKENS, BATCH_SEQS, err);
    msim_walk_close(walk);
    (void)ms_cli_skips_close(skips, NULL); /* writes no file */
    return rc;
}

/* ---- FLOPs ---- */

/* Of each stage, over all sequences; a multiply-add is 2. Those without products count 0. */
static double count_flops(const encoder_bench *b, const workload *w, double *stage) {
    double dim = (double)b->info.dim, inner = 64.0 * (double)b->info.heads,
           depth = (double)b->info.depth, all = 0;
    memset(stage, 0, MSIM_STAGE_COUNT * sizeof *stage);
    for (size_t i = 0; i < w->n; i++) {
        double n = (double)(w->starts[i + 1] - w->starts[i]);
        stage[MSIM_STAGE_PROJECTION] += depth * 2 * 4 * dim * inner * n;
        stage[MSIM_STAGE_FEED_FORWARD] += depth * 2 * 8 * dim * dim * n;
        stage[MSIM_STAGE_ATTENTION] += depth * 4 * inner * n * n;
    }
    for (int i = 0; i < MSIM_STAGE_COUNT; i++) all += stage[i];
    return all;
}

/* ---- Running ---- */

static int run_once(encoder_bench *b, msim_context *ctx, const workload *w, msim_error *err) {
    int64_t starts[4097];
    int rc = 0;
    for (size_t i = 0; rc >= 0 && i < w->n_batches && !ms_cli_stopped(); i++) {
        size_t from = w->batches[i], n = w->batches[i + 1] - from;
        for (size_t j = 0; j <= n; j++) starts[j] = w->starts[from + j] - w->starts[from];
        rc = msim_context_embed(ctx, w->ids + w->starts[from], starts, n, NULL, b->out, err);
    }
    return rc;
}

/* One row of the table. flops 0: a stage without products; all_seconds: of the threads together. */
static void report(const encoder_bench *b, const char *name, double tokens, double flops,
                   ms_bench_figure seconds, double all_seconds, double threads) {
    ms_bench_result r = {.bench = "encoder",
                         .threads = b->options.threads,
                         .device = b->info.device == MSIM_DEVICE_CUDA ? "cuda" : "cpu",
                         .level = b->info.device == MSIM_DEVICE_CUDA ? NULL
                                                                     : msim_isa_name(b->info.isa),
                         .precision = msim_precision_name(b->info.precision)};
    ms_bench_figure none = {NAN, NAN}, elapsed = {seconds.best / threads, seconds.median / threads};
    ms_bench_figure rate = flops > 0 ? ms_bench_rate(flops / 1e9, elapsed) : none;
    snprintf(r.name, sizeof r.name, "%s", name);
    ms_bench_add(&r, "seconds", "seconds", seconds);
    ms_bench_add(&r, "tokens_per_s", "tokens/s",
                 threads == 1 ? ms_bench_rate(tokens, elapsed) : none);
    ms_bench_add(&r, "gflop", "GFLOP", ms_bench_once(flops / 1e9));
    ms_bench_add(&r, "gflop_per_s", "GFLOP/s", rate);
    ms_bench_add(&r, "roof_share", "of roof", ms_bench_once(rate.best * 1e9 / b->limit));
    ms_bench_add(&r, "time_share", "of time", ms_bench_once(seconds.best / all_seconds));
    ms_bench_report(&r);
}

static int run_case(encoder_bench *b, const char *name, const workload *w, msim_error *err) {
    static double seconds[MS_BENCH_MAX_ROUNDS], stages[MSIM_STAGE_COUNT][MS_BENCH_MAX_ROUNDS];
    double flops[MSIM_STAGE_COUNT], all = count_flops(b, w, flops), told = 0,
                                    threads = b->options.threads;
    size_t rounds = (size_t)b->s->rounds;
    msim_context *ctx = NULL;
    msim_stats before = {.size = sizeof before}, after = {.size = sizeof after};
    b->options.max_batch_tokens = w->most_tokens;
    b->options.max_batch_seqs = w->most_seqs;
    int rc = ms_grow((void **)&b->out, &b->out_cap, (size_t)w->most_seqs,
                     (size_t)b->info.dim * sizeof *b->out, "vectors", err);
    if (rc >= 0) rc = msim_context_open(b->model, &b->options, &ctx, err);
    if (rc >= 0) rc = run_once(b, ctx, w, err);
    for (size_t i = 0; rc >= 0 && i < rounds && !ms_cli_stopped(); i++) {
        msim_context_stats(ctx, &before);
        double began = ms_cli_now();
        rc = run_once(b, ctx, w, err);
        seconds[i] = ms_cli_now() - began;
        msim_context_stats(ctx, &after);
        for (int j = 0; j < MSIM_STAGE_COUNT; j++)
            stages[j][i] = after.stage_seconds[j] - before.stage_seconds[j];
    }
    msim_context_close(ctx);
    if (rc < 0 || ms_cli_stopped()) return ms_cli_as_failure(rc);
    size_t best = 0;
    for (size_t i = 1; i < rounds; i++) best = seconds[i] < seconds[best] ? i : best;
    ms_bench_figure whole = ms_bench_times(seconds, rounds);
    report(b, name, (double)w->starts[w->n], all, whole, whole.best, 1);
    for (int j = 0; j < MSIM_STAGE_COUNT; j++) {
        char label[64];
        double of_best = stages[j][best]; /* stages of one pass: the fastest */
        ms_bench_figure f = {of_best, ms_bench_times(stages[j], rounds).median};
        told += f.best;
        snprintf(label, sizeof label, "%.40s %s", name, msim_stage_name(j));
        if (f.best > 0) report(b, label, 0, flops[j], f, whole.best * threads, threads);
    }
    if (told > 0) { /* threads that wait for each other, and handing out work */
        char label[64];
        snprintf(label, sizeof label, "%.40s waiting", name);
        report(b, label, 0, 0, ms_bench_once(fmax(0, whole.best * threads - told)),
               whole.best * threads, threads);
    }
    return 0;
}

static int run_cases(encoder_bench *b, const int64_t *lengths, int n, msim_error *err) {
    workload w = {0};
    char name[64];
    if (b->s->tokens) {
        int rc = read_tokens(b, &w, err);
        snprintf(name, sizeof name, "mixed %zu", w.n); /* and how long they are: FLOPs tell */
        if (rc >= 0) rc = run_case(b, name, &w, err);
        workload_free(&w);
        return ms_cli_as_failure(rc);
    }
    int rc = 0;
    for (int i = 0; i < n && rc >= 0 && !ms_cli_stopped(); i++) {
        rc = make_length(&w, lengths[i], b->s->batch, b->info.vocab, err);
        if (b->s->batch > 1)
            snprintf(name, sizeof name, "%lldx%lld", (long long)lengths[i], (long long)b->s->batch);
        else
            snprintf(name, sizeof name, "%lld", (long long)lengths[i]);
        if (rc >= 0) rc = run_case(b, name, &w, err);
        workload_free(&w);
    }
    return rc;
}

int ms_bench_encoder(const ms_bench_settings *s) {
    encoder_bench b = {.s = s, .options = ms_cli_library_options(&s->common), .limit = NAN};
    char path[4096];
    msim_error err;
    ms_bench_figure limit;
    int64_t lengths[MS_BENCH_MAX_LIST];
    int n = ms_bench_list("--lengths", s->lengths, 1, (int64_t)1 << 20, lengths);
    if (n < 0) return n; /* said already */
    int rc = ms_cli_model_path(&s->common, path, sizeof path, &err);
    if (rc >= 0) rc = msim_model_open(path, &b.options, &b.model, &err);
    if (rc < 0) {
        ms_cli_error("%s", err.text);
        return rc;
    }
    b.info.size = sizeof b.info;
    msim_model_get_info(b.model, &b.info);
    int kind = b.info.device == MSIM_DEVICE_CPU ? ms_bench_limit_of(b.info.isa, b.info.precision)
                                                : -1;
    if (kind >= 0 && !s->is_without_roof && ms_bench_limit(kind, b.options.threads, s, &limit) > 0)
        b.limit = limit.best;
    rc = run_cases(&b, lengths, n, &err);
    if (rc < 0) ms_cli_error("%s", err.text);
    msim_model_close(b.model);
    ms_free(b.out);
    return rc;
}
