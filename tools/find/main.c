/* midisim-find: the pieces that share notes with a query. Queries are read in order and answered
 * some at a time, each by one thread. */
#include "base/mem.h"
#include "base/pool.h"
#include "common/notes/html.h"
#include "common/notes/open.h"
#include "common/ranks.h"
#include "common/skips.h"
#include "common/watch.h"
#include "find.h"
#include "follow.h"
#include <string.h>

enum { BATCH = 64 };

typedef struct {
    const ms_find_settings *s;
    msim_notes *notes; /* owned, and so on */
    const char *root;
    unsigned char *within;
    ms_pool *pool;
    msim_finder **finders; /* [threads] */
    ms_cli_skips *skips;
    ms_tree *excerpts, *copies;
    ms_html html;
    msim_note_reader *reader;
    ms_asked batch[BATCH];
    size_t n_waiting;
    ms_find_out out;
    int64_t n_queries, n_significant, n_failed;
} finding;

/* ---- Answers ---- */

static void answer(void *arg, int64_t item, int worker) {
    finding *f = arg;
    ms_asked *q = &f->batch[item];
    if (!ms_cli_stopped()) ms_asked_answer(q, f->finders[worker]);
}

/* The part of the query that was asked for: times of its notes. */
static int add_to_report(finding *f, const ms_asked *q, msim_error *err) {
    const bool is_part = f->s->from || f->s->to || f->s->bars;
    double from = -1, to = -1;
    if (!f->html.report) return 0;
    for (size_t i = 0; i < q->n_notes && is_part; i++) {
        const double start = q->notes[i].start_ms / 1000.0;
        const double end = start + q->notes[i].duration_ms / 1000.0;
        if (from < 0 || start < from) from = start;
        if (end > to) to = end;
    }
    const int64_t query =
        ms_html_query(&f->html, q->label, strlen(q->label), q->path, q, from, to, err);
    return query < 0 ? (int)query : ms_html_found(&f->html, query, q, err);
}

static int give_answer(finding *f, ms_asked *q) {
    if (q->err.code) {
        ms_cli_error("%s: %s", q->label, q->err.text);
        f->n_failed++;
        return -q->err.code;
    }
    f->n_queries++;
    f->n_significant += q->n_matches > 0 && q->matches[0].is_significant;
    int rc = ms_find_print(&f->out, q);
    if (rc >= 0 && (rc = add_to_report(f, q, &q->err)) < 0) ms_cli_error("%s", q->err.text);
    if (rc >= 0 && ms_find_write(f->s, f->notes, f->root, f->excerpts, f->copies, q) < 0)
        f->n_failed++;
    return rc;
}

/* Answer what waits. < 0 when it makes no sense to go on. */
static int flush(finding *f) {
    int rc = 0;
    if (ms_ranks_count() > 1)
        for (size_t i = 0; i < f->n_waiting; i++) ms_find_lead(&f->batch[i], f->finders[0]);
    else
        ms_pool_run(f->pool, (int64_t)f->n_waiting, answer, f);
    for (size_t i = 0; i < f->n_waiting; i++) {
        if (rc >= 0 && !ms_cli_stopped()) rc = give_answer(f, &f->batch[i]);
        ms_asked_free(&f->batch[i]);
    }
    f->n_waiting = 0;
    return ms_cli_stopped() ? -MSIM_E_STOPPED : rc;
}

/* ---- Queries ---- */

static int add(finding *f) { return ++f->n_waiting == BATCH ? flush(f) : 0; }

static int add_phrases(finding *f) {
    for (size_t i = 0; i < f->s->phrases.n; i++) {
        msim_error err;
        int rc = ms_find_take_phrase(f->s->phrases.items[i], &f->batch[f->n_waiting], &err);
        if (rc < 0) {
            ms_asked_free(&f->batch[f->n_waiting]);
            ms_cli_error("%s", err.text);
            return rc == -MSIM_E_EMPTY ? -MSIM_E_ARG : rc;
        }
        rc = add(f);
        if (rc < 0) return rc;
    }
    return 0;
}

static int skip(finding *f, const msim_walk_item *item, int reason, const char *detail) {
    ms_cli_skips_add(f->skips, item->path, reason, detail,
                     msim_skip_is_failure(reason, item->is_named));
    return 0;
}

static int add_file(finding *f, const msim_walk_item *item) {
    msim_piece_notes piece = {.size = sizeof piece};
    msim_error err = {0};
    ms_asked *q = &f->batch[f->n_waiting];
    if (item->reason != MSIM_SKIP_NONE) return skip(f, item, item->reason, item->detail);
    int rc = msim_note_reader_read(f->reader, item->bytes, item->n_bytes, &piece, &err);
    if (rc < 0)
        return skip(f, item, msim_skip_reason_of_outcome(msim_note_reader_outcome(f->reader)),
                    err.text);
    rc = ms_find_take(f->s, item->name, item->name_bytes, &piece, q, &err);
    if (rc >= 0 && f->s->html && !item->is_stream) {
        q->path = ms_mem_copy_text(item->path, "a path", &err);
        if (!q->path) rc = -MSIM_E_MEMORY;
    }
    if (rc >= 0) return add(f);
    ms_asked_free(q);
    ms_cli_error("%s: %s", item->path, err.text);
    f->n_failed++;
    return rc == -MSIM_E_EMPTY ? 0 : rc;
}

static int add_files(finding *f, msim_error *err) {
    msim_walk *walk;
    msim_walk_item item = {.size = sizeof item};
    msim_walk_options o = ms_cli_walk_options();
    o.paths = f->s->common.operands.items;
    o.n_paths = f->s->common.operands.n;
    o.files_from = f->s->files_from;
    o.is_nul_separated = f->s->is_nul_separated;
    o.has_stream = 1;
    if (o.n_paths == 0 && !o.files_from) return 0;
    int rc = msim_walk_open(&o, &walk, err);
    while (rc >= 0 && (rc = msim_walk_next(walk, &item, err)) > 0) {
        rc = add_file(f, &item);
        if (rc < 0) err->text[0] = 0; /* it was said */
    }
    msim_walk_close(walk);
    return rc;
}

/* ---- The whole ---- */

static msim_finder_options finder_options(const finding *f) {
    msim_finder_options o = msim_finder_options_default();
    o.max_matches = f->s->top;
    o.evalue = f->s->evalue;
    o.is_same_key = f->s->is_same_key;
    o.is_same_tempo = f->s->is_same_tempo;
    o.within = f->within;
    o.ranks = ms_ranks_table();
    o.should_stop = ms_cli_should_stop;
    return o;
}

/* Ranks answer one query after the other, together. */
static int open_finders(finding *f, msim_error *err) {
    const msim_finder_options o = finder_options(f);
    int rc = ms_pool_open(o.ranks ? 1 : ms_cli_threads(&f->s->common), &f->pool, err);
    if (rc < 0) return rc;
    f->finders = ms_alloc((size_t)ms_pool_size(f->pool), sizeof(msim_finder *), "finders", err);
    if (!f->finders) return -MSIM_E_MEMORY;
    for (int i = 0; i < ms_pool_size(f->pool) && rc >= 0; i++)
        rc = msim_finder_open(f->notes, &o, &f->finders[i], err);
    return rc;
}

static int open_all(finding *f, msim_error *err) {
    int rc = ms_find_check_ranks(f->s->index, f->s->is_stream, err);
    if (rc >= 0)
        rc =
            ms_noteindex_open(f->s->index, ms_cli_threads(&f->s->common), &f->notes, &f->root, err);
    if (rc >= 0) rc = ms_noteindex_choose(&f->s->within, f->notes, &f->within, err);
    if (rc >= 0) rc = open_finders(f, err);
    if (rc >= 0) rc = msim_note_reader_open(&f->reader, err);
    if (rc >= 0) rc = ms_cli_skips_open(NULL, NULL, &f->skips, err);
    f->out = (ms_find_out){.settings = f->s, .notes = f->notes};
    if (ms_ranks_index() > 0) return rc;
    if (rc >= 0 && f->s->excerpts) rc = ms_tree_open(f->s->excerpts, &f->excerpts, err);
    if (rc >= 0 && f->s->copy_to) rc = ms_tree_open(f->s->copy_to, &f->copies, err);
    if (rc >= 0) rc = ms_html_open(f->s->html, &f->s->roots, f->root, f->notes, &f->html, err);
    return rc;
}

static void close_all(finding *f) {
    for (size_t i = 0; i < f->n_waiting; i++) ms_asked_free(&f->batch[i]);
    for (int i = 0; f->finders && i < ms_pool_size(f->pool); i++) msim_finder_close(f->finders[i]);
    ms_free(f->finders);
    if (f->pool) ms_pool_close(f->pool);
    if (f->excerpts) ms_tree_close(f->excerpts);
    if (f->copies) ms_tree_close(f->copies);
    ms_html_close(&f->html);
    msim_note_reader_close(f->reader);
    ms_free(f->within);
    msim_notes_close(f->notes);
}

/* What has no queries: pairs, groups, a stream. */
static int run_without(finding *f, msim_error *err) {
    const msim_finder_options o = finder_options(f);
    int rc = !f->s->is_groups && ms_find_begin(&f->out) < 0 ? -MSIM_E_STOPPED : 0;
    rc = ms_ranks_agree(rc, err);
    if (rc < 0) return rc;
    return f->s->is_stream ? ms_find_stream(f->s, &o, &f->out) : ms_find_pairs(f->s, &f->out);
}

/* Print the answers to all queries. On several ranks: rank 0. */
static int run_queries(finding *f, msim_error *err) {
    int rc = ms_find_begin(&f->out) < 0 ? -MSIM_E_STOPPED : 0;
    if (rc >= 0) rc = add_phrases(f);
    if (rc >= 0) rc = add_files(f, err);
    if (rc >= 0) rc = flush(f);
    ms_find_dismiss();
    if (rc >= 0) {
        err->text[0] = 0;
        rc = ms_html_write(&f->html, err);
    }
    if (rc < 0) return rc;
    err->text[0] = 0; /* of files that were skipped */
    const bool has_failures = f->n_failed || ms_cli_skips_failures(f->skips);
    return has_failures || f->n_significant == 0 ? -MSIM_E_EMPTY : 0;
}

static int run(const ms_find_settings *s) {
    static finding f;
    msim_error err = {0}, late;
    f.s = s;
    int rc = ms_ranks_agree(open_all(&f, &err), &err);
    if (rc >= 0 && (s->is_stream || s->is_pairs || s->is_groups))
        rc = run_without(&f, &err);
    else if (rc >= 0)
        rc = ms_ranks_index() > 0 ? ms_find_follow(f.finders[0]) : run_queries(&f, &err);
    if (rc < 0 && err.text[0] && !ms_cli_stopped()) ms_cli_error("%s", err.text);
    if (f.skips) (void)ms_cli_skips_close(f.skips, &late);
    close_all(&f);
    return rc;
}

int main(int argc, char **argv) {
    static ms_find_settings s = {.top = 10, .evalue = 1e-3};
    ms_ranks_begin(&argc, &argv);
    int rc = ms_cli_parse(&ms_find_tool, argc, argv, &s);
    if (rc == 0) rc = ms_find_check(&s);
    if (rc != 0) return ms_ranks_end(ms_cli_finish(rc));
    ms_cli_catch_signals();
    return ms_ranks_end(ms_cli_finish(run(&s)));
}
