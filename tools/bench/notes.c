/* The note index on one core: building it, and searching it with excerpts and whole pieces, each
 * stage of a search apart. Contract: tools/bench/bench.h. The queries are the indexed pieces' own
 * notes, moved to another key. */
#define _GNU_SOURCE
#include "bench.h"
#include "base/mem.h"
#include "common/watch.h"
#include "notes/find/pass.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { QUERIES = 100, MOVED = 3 };

typedef struct {
    const ms_bench_settings *s;
    char path[64];     /* of the index */
    msim_notes *notes; /* owned, and so on */
    ms_pass_memory memory;
    msim_finder *finder;
    ms_arena arena;
    int64_t n_pieces;
} notes_bench;

/* Seconds of one query's stages. */
enum { LOOK_UP, ANCHORS, CHAINS, VERIFY, STAGES };

/* ---- Building ---- */

static int build(notes_bench *b, double *seconds, msim_notes_job_stats *stats, msim_error *err) {
    msim_notes_job_options o = msim_notes_job_options_default();
    o.walk = ms_cli_walk_options();
    o.walk.paths = b->s->common.operands.items;
    o.walk.n_paths = b->s->common.operands.n;
    o.output = b->path;
    const double began = ms_cli_now();
    int rc = msim_notes_build(&o, stats, err);
    ms_cli_progress_end();
    *seconds = ms_cli_now() - began;
    return rc;
}

static int report_build(notes_bench *b, msim_error *err) {
    double seconds[MS_BENCH_MAX_ROUNDS];
    ms_bench_result r = {.bench = "notes", .name = "build", .threads = 1};
    msim_notes_job_stats stats = {.size = sizeof stats};
    msim_notes_info info = {.size = sizeof info};
    int rc = build(b, &seconds[0], &stats, err);
    for (int64_t i = 0; i < b->s->rounds && rc >= 0; i++) rc = build(b, &seconds[i], &stats, err);
    if (rc >= 0) rc = msim_notes_open(b->path, &b->notes, err);
    if (rc < 0) return rc;
    (void)msim_notes_get_info(b->notes, &info);
    b->n_pieces = info.pieces;
    const ms_bench_figure f = ms_bench_times(seconds, (size_t)b->s->rounds);
    const double notes = info.notes > 0 ? (double)info.notes : 1;
    ms_bench_add(&r, "seconds", "seconds", f);
    ms_bench_add(&r, "notes_per_s", "notes/s", ms_bench_rate((double)stats.notes, f));
    ms_bench_add(&r, "pieces", "pieces", ms_bench_once((double)info.pieces));
    ms_bench_add(&r, "notes", "notes", ms_bench_once(notes));
    ms_bench_add(&r, "postings_per_note", "postings a note",
                 ms_bench_once((double)info.postings / notes));
    ms_bench_add(&r, "bytes_per_note", "bytes a note",
                 ms_bench_once((double)info.file_bytes / notes));
    ms_bench_report(&r);
    return 0;
}

/* ---- Searching ---- */

/* Query `number`: up to n notes of some piece, from its middle on, MOVED semitones up. */
static size_t take_query(notes_bench *b, int64_t number, size_t n, msim_note *out,
                         msim_error *err) {
    msim_loaded_piece *loaded;
    msim_piece_notes piece = {.size = sizeof piece};
    if (msim_notes_load_piece(b->notes, number, &loaded, &piece, err) < 0) return 0;
    if (n > piece.n_notes) n = piece.n_notes;
    const msim_note *from = piece.notes + (piece.n_notes - n) / 2;
    for (size_t i = 0; i < n; i++) {
        out[i] = from[i];
        out[i].pitch = (uint8_t)(from[i].pitch + MOVED < 128 ? from[i].pitch + MOVED : 127);
    }
    msim_notes_free_piece(loaded);
    return n;
}

/* One pass in its stages, as ms_pass_run does it. */
static int time_stages(notes_bench *b, const msim_note *query, size_t n, double *seconds,
                       msim_error *err) {
    const ms_probe_limits limits = {.few = MS_FEW, .most = MS_MOST, .sample = 1};
    const ms_anchor_limits all = {.max_groups = MS_GROUPS};
    ms_probe probe;
    ms_group *groups;
    ms_chain chains[MS_CHAINS_OF_GROUP];
    ms_verified verified;
    ms_target target;
    size_t n_groups;
    double t = ms_cli_now();
    ms_arena_reset(&b->arena);
    ms_cache_trim(&b->memory.cache);
    int rc = ms_probe_make(query, n, &b->memory.lookup, &limits, &b->arena, &probe, err);
    seconds[LOOK_UP] += ms_cli_now() - t;
    t = ms_cli_now();
    if (rc >= 0) rc = ms_anchors_find(&probe, b->notes, &all, &b->arena, &groups, &n_groups, err);
    seconds[ANCHORS] += ms_cli_now() - t;
    for (size_t g = 0; rc >= 0 && g < n_groups; g++) {
        t = ms_cli_now();
        rc = ms_cache_get(&b->memory.cache, groups[g].piece, &target, err);
        if (rc >= 0)
            rc = ms_chain_group(&groups[g], &probe, &target, &b->memory.tables, &b->arena, chains,
                                err);
        seconds[CHAINS] += ms_cli_now() - t;
        t = ms_cli_now();
        if (rc > 0 && g < MS_VERIFIED)
            rc = ms_verify_chain(&chains[0], &probe, &target, &b->memory.memory, &b->arena,
                                 &verified, err);
        seconds[VERIFY] += ms_cli_now() - t;
    }
    return rc;
}

/* Milliseconds a query: the whole search with its decoys, and the stages of one pass. */
static int report_queries(notes_bench *b, size_t length, msim_error *err) {
    static const char *const keys[STAGES] = {"look_up_ms", "anchors_ms", "chains_ms", "verify_ms"};
    ms_bench_result r = {.bench = "notes", .threads = 1};
    double stages[STAGES] = {0}, seconds[MS_BENCH_MAX_ROUNDS] = {0}, n_notes = 0;
    const int64_t n = b->n_pieces < QUERIES ? b->n_pieces : QUERIES;
    msim_note *query = ms_alloc(length, sizeof *query, "notes", err);
    int64_t rc = query ? 0 : -MSIM_E_MEMORY;
    for (int64_t i = 0; i < n && rc >= 0 && !ms_cli_stopped(); i++) {
        const msim_note_match *matches;
        const size_t got = take_query(b, i * b->n_pieces / n, length, query, err);
        n_notes += (double)got / (double)n;
        for (int64_t k = 0; k < b->s->rounds && rc >= 0; k++) {
            const double began = ms_cli_now();
            rc = msim_finder_find(b->finder, query, got, &matches, err);
            seconds[k] += ms_cli_now() - began;
        }
        if (rc >= 0) rc = time_stages(b, query, got, stages, err);
    }
    ms_free(query);
    if (rc < 0) return (int)rc;
    for (int64_t k = 0; k < b->s->rounds; k++) seconds[k] *= 1000 / (double)n;
    snprintf(r.name, sizeof r.name, length < 100000 ? "%zu notes" : "whole pieces", length);
    ms_bench_add(&r, "search_ms", "ms a query", ms_bench_times(seconds, (size_t)b->s->rounds));
    ms_bench_add(&r, "query_notes", "notes", ms_bench_once(n_notes));
    for (int s = 0; s < STAGES; s++)
        ms_bench_add(&r, keys[s], keys[s], ms_bench_once(stages[s] * 1000 / (double)n));
    ms_bench_report(&r);
    return 0;
}

int ms_bench_notes(const ms_bench_settings *s) {
    static const size_t lengths[] = {12, 60, 300, (size_t)1 << 20};
    notes_bench b = {.s = s};
    msim_error err = {0};
    snprintf(b.path, sizeof b.path, "/tmp/midisim-bench-%ld.notes", (long)getpid());
    ms_arena_init(&b.arena, (size_t)64 << 20);
    int rc = report_build(&b, &err);
    if (rc >= 0) rc = ms_pass_memory_init(&b.memory, b.notes, &err);
    if (rc >= 0) rc = msim_finder_open(b.notes, NULL, &b.finder, &err);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths && rc >= 0 && !ms_cli_stopped(); i++)
        rc = report_queries(&b, lengths[i], &err);
    if (rc < 0 && rc != -MSIM_E_STOPPED) ms_cli_error("%s", err.text);
    msim_finder_close(b.finder);
    ms_pass_memory_free(&b.memory);
    ms_arena_free(&b.arena);
    msim_notes_close(b.notes);
    (void)unlink(b.path);
    return rc;
}
