/* The whole pipeline, from files on disk to vectors, and each half alone. Contract:
 * tools/bench/bench.h. */
#define _GNU_SOURCE
#include "bench.h"
#include "base/mem.h"
#include "common/watch.h"
#include "pipeline/batcher.h"
#include "pipeline/input/reader.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const ms_bench_settings *s;
    msim_model *model; /* owned */
    msim_options options;
    ms_files_list files;    /* owned */
    ms_sequence *sequences; /* owned, with their ids: what the files give */
    size_t n, cap, next;
    ms_reader *reader; /* owned: while files are read */
    int64_t n_done, n_tokens;
    bool is_kept; /* sequences are kept as they are read */
    ms_watch watch;
} embed_bench;

static int open_reader(embed_bench *b, bool is_background, msim_error *err) {
    ms_reader_request wanted = {.files = &b->files,
                                .threads = b->options.threads,
                                .is_shifted = true,
                                .max_tokens = b->s->max_tokens,
                                .watch = &b->watch,
                                .is_background = is_background};
    b->n_done = 0;
    return ms_reader_open(&wanted, &b->reader, err);
}

static void close_reader(embed_bench *b) {
    ms_reader_close(b->reader);
    b->reader = NULL;
}

/* ---- Where the embedder takes sequences from ---- */

static int next_from_files(void *source, bool may_wait, ms_sequence *out, msim_error *err) {
    embed_bench *b = source;
    ms_reader_item item;
    for (;;) {
        int state = ms_reader_next(b->reader, may_wait, &item, err);
        if (state != MS_READER_ITEM) return state;
        b->n_done++;
        if (item.reason == MSIM_SKIP_NONE) break;
        ms_reader_item_free(&item);
    }
    *out = (ms_sequence){.name = item.entry->path + item.entry->name_at,
                         .name_len = item.entry->name_len,
                         .ids = item.ids,
                         .n_ids = item.starts[1]};
    item.ids = NULL;
    ms_reader_item_free(&item);
    return MS_READER_ITEM;
}

static int next_from_memory(void *source, bool may_wait, ms_sequence *out, msim_error *err) {
    embed_bench *b = source;
    (void)may_wait;
    if (b->next == b->n || ms_cli_stopped()) return MS_READER_END;
    *out = b->sequences[b->next++];
    /* the embedder frees what it takes */
    int32_t *ids = ms_alloc((size_t)out->n_ids + 1, sizeof *ids, "token ids", err);
    if (!ids) return -MSIM_E_MEMORY;
    memcpy(ids, out->ids, (size_t)out->n_ids * sizeof *ids);
    out->ids = ids;
    return MS_READER_ITEM;
}

static int64_t n_done(const void *source, int64_t n_waiting) {
    return ((const embed_bench *)source)->n_done - n_waiting;
}

/* ---- The three ways ---- */

/* Files to tokens; the first time the sequences are kept for the encoder. */
static int run_tokens(embed_bench *b, msim_error *err) {
    ms_sequence one;
    int rc = open_reader(b, false, err);
    if (rc < 0) return rc;
    while ((rc = next_from_files(b, true, &one, err)) == MS_READER_ITEM)
        if (!b->is_kept) {
            ms_free(one.ids);
        } else if ((rc = ms_grow((void **)&b->sequences, &b->cap, b->n + 1, sizeof *b->sequences,
                                 "token sequences", err)) < 0) {
            ms_free(one.ids);
            break;
        } else {
            b->sequences[b->n++] = one;
            b->n_tokens += one.n_ids;
        }
    close_reader(b);
    return rc;
}

static int run_embedder(embed_bench *b, bool is_from_files, ms_batcher_stats *stats,
                        msim_error *err) {
    ms_sequences from = {.next = is_from_files ? next_from_files : next_from_memory,
                         .source = b,
                         .n_done = n_done,
                         .n_all = (int64_t)b->files.n};
    ms_batcher_request request = {.model = b->model,
                                  .options = b->options,
                                  .watch = &b->watch,
                                  .longest = b->s->max_tokens < 16384 ? b->s->max_tokens : 0};
    *stats = (ms_batcher_stats){0};
    b->next = 0;
    int rc = is_from_files ? open_reader(b, true, err) : 0;
    if (rc >= 0) rc = ms_batcher_run(&request, &from, stats, err);
    close_reader(b);
    return rc;
}

typedef struct {
    double tokens[MS_BENCH_MAX_ROUNDS], encoder[MS_BENCH_MAX_ROUNDS], both[MS_BENCH_MAX_ROUNDS];
    double waiting, inside; /* of the best round of both */
} times;

static int run_rounds(embed_bench *b, times *t, msim_error *err) {
    ms_batcher_stats stats;
    double best = INFINITY;
    b->is_kept = true; /* the warm-up: files come into the system's memory, sequences into ours */
    int rc = run_tokens(b, err);
    b->is_kept = false;
    if (rc >= 0 && b->n == 0)
        rc = ms_fail(err, MSIM_E_EMPTY, "embed: no file that was given has notes");
    if (rc >= 0) rc = run_embedder(b, true, &stats, err);
    for (int64_t i = 0; rc >= 0 && i < b->s->rounds && !ms_cli_stopped(); i++) {
        double began = ms_cli_now();
        rc = run_tokens(b, err);
        t->tokens[i] = ms_cli_now() - began;
        began = ms_cli_now();
        if (rc >= 0) rc = run_embedder(b, false, &stats, err);
        t->encoder[i] = ms_cli_now() - began;
        began = ms_cli_now();
        if (rc >= 0) rc = run_embedder(b, true, &stats, err);
        t->both[i] = ms_cli_now() - began;
        if (t->both[i] >= best) continue;
        best = t->both[i];
        t->waiting = stats.wait_seconds;
        t->inside = stats.encoder_seconds;
    }
    return rc;
}

static void report(const embed_bench *b, const char *name, ms_bench_figure seconds, double waiting,
                   double inside, double larger) {
    msim_model_info info = {.size = sizeof info};
    msim_model_get_info(b->model, &info);
    ms_bench_result r = {.bench = "embed",
                         .threads = b->options.threads,
                         .device = info.device == MSIM_DEVICE_CUDA ? "cuda" : "cpu",
                         .level = info.device == MSIM_DEVICE_CUDA ? NULL : msim_isa_name(info.isa),
                         .precision = msim_precision_name(info.precision)};
    if (b->s->max_tokens)
        snprintf(r.name, sizeof r.name, "%zu files to %lld %s", b->files.n,
                 (long long)b->s->max_tokens, name);
    else
        snprintf(r.name, sizeof r.name, "%zu files %s", b->files.n, name);
    ms_bench_add(&r, "seconds", "seconds", seconds);
    ms_bench_add(&r, "files_per_s", "files/s", ms_bench_rate((double)b->files.n, seconds));
    ms_bench_add(&r, "tokens_per_s", "tokens/s", ms_bench_rate((double)b->n_tokens, seconds));
    ms_bench_add(&r, "encoder_seconds", "in encoder", ms_bench_once(inside));
    ms_bench_add(&r, "wait_seconds", "waiting", ms_bench_once(waiting));
    ms_bench_add(&r, "to_larger", "to larger", ms_bench_once(larger));
    ms_bench_report(&r);
}

int ms_bench_embed(const ms_bench_settings *s) {
    static times t;
    embed_bench b = {.s = s, .options = ms_cli_library_options(&s->common)};
    char path[4096];
    msim_error err;
    ms_files_request request = {
        .paths = s->common.operands.items, .n_paths = s->common.operands.n, .watch = &b.watch};
    b.watch.progress = ms_cli_job_progress;
    b.watch.message = ms_cli_job_message;
    ms_watch_begin(&b.watch);
    int rc = ms_cli_model_path(&s->common, path, sizeof path, &err);
    if (rc >= 0) rc = msim_model_open(path, &b.options, &b.model, &err);
    if (rc >= 0) rc = ms_files_list_open(&request, &b.files, &err);
    if (rc >= 0) rc = run_rounds(&b, &t, &err);
    bool is_done = rc >= 0 && !ms_cli_stopped();
    if (is_done) {
        size_t rounds = (size_t)s->rounds;
        ms_bench_figure tokens = ms_bench_times(t.tokens, rounds),
                        encoder = ms_bench_times(t.encoder, rounds);
        ms_bench_figure both = ms_bench_times(t.both, rounds);
        report(&b, "tokens alone", tokens, NAN, NAN, NAN);
        report(&b, "encoder alone", encoder, NAN, NAN, NAN);
        report(&b, "both", both, t.waiting, t.inside, both.best / fmax(tokens.best, encoder.best));
    } else if (rc < 0 && rc != -MSIM_E_STOPPED) {
        ms_cli_error("%s", err.text);
    }
    for (size_t i = 0; i < b.n; i++) ms_free(b.sequences[i].ids);
    ms_free(b.sequences);
    ms_files_list_close(&b.files);
    msim_model_close(b.model);
    return rc < 0 ? rc : is_done ? 0 : -MSIM_E_STOPPED;
}
