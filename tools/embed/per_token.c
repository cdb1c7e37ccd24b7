/* Contract: tools/embed/per_token.h. Pieces one after the other, in the order of the list, read and
 * tokenised ahead by the reader's threads. A piece whose file is there already, whole, is not
 * embedded again; per-token.json says with which settings the folder was made, and other ones are
 * refused. */
#define _GNU_SOURCE
#include "per_token.h"
#include "base/mem.h"
#include "common/skips.h"
#include "common/tree.h"
#include "common/watch.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_TOKENS 4096
#define SETTINGS "per-token.json"

typedef struct {
    const ms_embed_settings *s;
    msim_options options;
    msim_model *model; /* owned */
    msim_model_info info;
    msim_context *context; /* owned */
    int64_t room;          /* tokens that context and out have room for */
    float *out;            /* owned: [room, dim] */
    ms_tree *tree;         /* owned */
    msim_walk *walk;       /* owned */
    ms_cli_skips *skips;   /* owned */
    int64_t n_files;       /* in the list; -1: token lines */
    int64_t n_written, n_there, n_tokens, n_refused;
} per_token_run;

/* ---- What the folder is of ---- */

static int check_settings(per_token_run *r, msim_error *err) {
    char line[700], tokens[80] = "";
    const bool is_cuda = r->info.device == MSIM_DEVICE_CUDA;
    if (r->info.token_family == MSIM_FAMILY_MIDISIMX)
        snprintf(tokens, sizeof tokens, ",\"tokens\":{\"order\":\"%s\",\"clean\":%s}",
                 msim_token_order_name(r->info.token_order), r->info.is_unclean ? "false" : "true");
    int n = snprintf(line, sizeof line,
                     "{\"model\":\"%s\",\"family\":\"%s\",\"dim\":%lld,\"precision\":\"%s\","
                     "\"device\":\"%s\",\"level\":\"%s\","
                     "\"max_tokens\":%lld,\"transpose\":%lld%s}\n",
                     r->info.sha256, r->info.family, (long long)r->info.dim,
                     msim_precision_name(r->info.precision), is_cuda ? "cuda" : "cpu",
                     is_cuda ? "cuda" : msim_isa_name(r->info.isa), (long long)r->s->max_tokens,
                     (long long)r->s->transpose, tokens);
    ms_put_part part = {.data = line, .n = (size_t)n};
    int rc = ms_tree_write(r->tree, SETTINGS, &part, 1, r->s->is_forced, err);
    if (rc == 0 && !ms_tree_holds(r->tree, SETTINGS, line, part.n, n))
        rc = ms_fail(err, MSIM_E_ARG,
                     "%s/" SETTINGS ": the vectors there were made with other settings; give "
                     "another folder, or --force to write all of it anew",
                     r->s->per_token);
    return rc < 0 ? rc : 0;
}

/* ---- One piece ---- */

static int make_room(per_token_run *r, int64_t tokens, msim_error *err) {
    msim_options options = r->options;
    if (r->context && tokens <= r->room) return 0;
    int64_t room = r->room ? r->room : FIRST_TOKENS;
    while (room < tokens) room *= 2;
    options.max_batch_tokens = room;
    options.max_batch_seqs = 1;
    msim_context_close(r->context);
    ms_free(r->out);
    r->context = NULL;
    r->out = NULL;
    int rc = msim_context_open(r->model, &options, &r->context, err);
    if (rc < 0) return rc;
    r->out = ms_alloc((size_t)room * (size_t)r->info.dim, sizeof *r->out, "vectors", err);
    if (!r->out) return -MSIM_E_MEMORY;
    r->room = room;
    return 0;
}

/* The header that NumPy writes for f32 [rows, dim], to out [256]. Returns its length, a multiple of
 * 64. */
static size_t make_head(int64_t rows, int64_t dim, char *out) {
    int n = snprintf(out + 10, 240,
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (%lld, %lld), }",
                     (long long)rows, (long long)dim);
    size_t all = (10 + (size_t)n + 1 + 63) / 64 * 64;
    memcpy(out, "\x93NUMPY\1", 8);
    out[8] = (char)((all - 10) & 255);
    out[9] = (char)((all - 10) >> 8);
    memset(out + 10 + n, ' ', all - 10 - (size_t)n);
    out[all - 1] = '\n';
    return all;
}

/* < 0 ends the run. */
static int write_piece(per_token_run *r, const char *path, const int32_t *ids, int64_t n,
                       msim_error *err) {
    char head[256];
    const size_t n_head = make_head(n, r->info.dim, head),
                 n_data = (size_t)n * (size_t)r->info.dim * sizeof *r->out;
    const int64_t starts[2] = {0, n};
    if (!r->s->is_forced &&
        ms_tree_holds(r->tree, path, head, n_head, (int64_t)(n_head + n_data))) {
        r->n_there++;
        return 0;
    }
    int rc = make_room(r, n, err);
    if (rc >= 0) rc = msim_context_embed_tokens(r->context, ids, starts, 1, r->out, err);
    if (rc < 0) return rc;
    ms_put_part parts[] = {{head, n_head}, {r->out, n_data}};
    rc = ms_tree_write(r->tree, path, parts, 2, r->s->is_forced, err);
    if (rc < 0) return rc;
    r->n_written += rc;
    r->n_tokens += n;
    if (rc == 0 && r->n_refused++ < 10)
        ms_cli_error("%s/%s: another file is there already (--force replaces it)", r->s->per_token,
                     path);
    return 0;
}

/* ---- All pieces ---- */

/* > 0 after the last piece. */
static int next_piece(per_token_run *r, msim_error *err) {
    msim_walk_item item = {.size = sizeof item};
    int rc = msim_walk_next(r->walk, &item, err);
    if (rc <= 0) return rc < 0 ? rc : 1;
    const bool is_line = r->n_files < 0, is_skipped = item.reason != MSIM_SKIP_NONE;
    const char *path = NULL;
    if (is_skipped)
        ms_cli_skips_add(r->skips, item.path, item.reason, item.detail, item.is_failure);
    /* Also for a file that gives nothing: the others' names do not depend on it. */
    if (!is_skipped || !is_line) {
        path = ms_tree_claim(r->tree, item.name, item.name_bytes, ".npy", NULL, err);
        if (!path) return -MSIM_E_MEMORY;
    }
    rc = is_skipped ? 0 : write_piece(r, path, item.ids, item.starts[1], err);
    ms_cli_progress(is_line ? "lines" : "files", item.index + 1, r->n_files);
    return rc;
}

static int open_input(per_token_run *r, msim_error *err) {
    const ms_embed_settings *s = r->s;
    msim_walk_options o = ms_cli_walk_options();
    msim_walk_stats stats = {.size = sizeof stats};
    o.from_tokens = s->from_tokens;
    o.is_tokenized = 1;
    o.model = r->model;
    o.max_tokens = s->max_tokens;
    if (!s->from_tokens) {
        o.paths = s->common.operands.items;
        o.n_paths = s->common.operands.n;
        o.files_from = s->files_from;
        o.is_nul_separated = s->is_nul_separated;
        o.names = s->names;
        o.shard = s->shard_index;
        o.n_shards = s->n_shards;
        o.transpose = (int)s->transpose;
        o.threads = r->options.threads;
        o.is_background = 1;
    }
    int rc = msim_walk_open(&o, &r->walk, err);
    if (rc >= 0) rc = msim_walk_get_stats(r->walk, &stats);
    r->n_files = s->from_tokens ? -1 : stats.files;
    return rc;
}

static int open_all(per_token_run *r, msim_error *err) {
    char path[4096];
    int rc = ms_cli_model_path(&r->s->common, path, sizeof path, err);
    if (rc >= 0) rc = msim_model_open(path, &r->options, &r->model, err);
    r->info.size = sizeof r->info;
    if (rc >= 0) rc = msim_model_get_info(r->model, &r->info);
    if (rc >= 0) rc = ms_tree_open(r->s->per_token, &r->tree, err);
    if (rc >= 0) rc = check_settings(r, err);
    if (rc >= 0)
        rc = ms_cli_skips_open(r->s->output ? NULL : r->s->skipped, r->s->files_from, &r->skips,
                               err);
    return rc >= 0 ? open_input(r, err) : rc;
}

static void say_summary(const per_token_run *r, int64_t n_cut, double seconds) {
    char written[32], there[32], skipped[32], tokens[32], cut[32], reasons[400];
    ms_cli_skips_describe(r->skips, reasons, sizeof reasons);
    ms_cli_note("%s: %s file%s written, %s were there, %s skipped%s%s%s; %s tokens in %.2f s",
                r->s->per_token, ms_cli_count(written, r->n_written), ms_cli_plural(r->n_written),
                ms_cli_count(there, r->n_there),
                ms_cli_count(skipped, ms_cli_skips_total(r->skips)), *reasons ? " (" : "", reasons,
                *reasons ? ")" : "", ms_cli_count(tokens, r->n_tokens), seconds);
    if (n_cut)
        ms_cli_note("%s file%s longer than %lld tokens, only the beginning is used",
                    ms_cli_count(cut, n_cut), ms_cli_plural(n_cut), (long long)r->s->max_tokens);
}

static void close_all(per_token_run *r) {
    msim_walk_close(r->walk);
    ms_tree_close(r->tree);
    msim_context_close(r->context);
    msim_model_close(r->model);
    ms_free(r->out);
}

int ms_per_token_run(const ms_embed_settings *settings) {
    double began = ms_cli_now();
    per_token_run r = {.s = settings, .options = ms_cli_library_options(&settings->common)};
    msim_walk_stats stats = {.size = sizeof stats};
    msim_error err = {0};
    r.options.token_order = settings->token_order;
    r.options.is_unclean = settings->is_unclean;
    int rc = open_all(&r, &err);
    bool is_open = rc >= 0;
    while (rc == 0 && !ms_cli_stopped()) rc = next_piece(&r, &err);
    ms_cli_progress_end();
    if (rc < 0) {
        if (!ms_cli_stopped()) ms_cli_error("%s", err.text);
        if (is_open) rc = ms_cli_as_failure(rc);
    }
    if (r.walk) (void)msim_walk_get_stats(r.walk, &stats);
    if (is_open) say_summary(&r, stats.cut, ms_cli_now() - began);
    bool has_some = r.n_written + r.n_there > 0 || settings->n_shards;
    if (rc >= 0 &&
        (!has_some || r.n_refused || ms_cli_skips_failures(r.skips) || stats.empty_folders))
        rc = -MSIM_E_EMPTY;
    if (ms_cli_skips_close(r.skips, &err) < 0) {
        ms_cli_error("%s", err.text);
        rc = -MSIM_E_IO;
    }
    close_all(&r);
    return rc;
}
