/* midisim-search: the rows of a corpus that are nearest to a piece. Queries are MIDI files, rows of
 * the corpus, or vectors from other files; the library's searcher answers them exactly, in groups,
 * so that the corpus is passed once for several of them. Answers come in the order of the queries.
 *   options   what may be asked              names     names that matter, and their rows
 *   corpus    corpus, descriptions, model    queries   where queries come from
 *   codes     quantised rows                 answers   what becomes of answers: results, copy_to
 *   found     pieces that share notes        music     and how they are printed
 *   ranks     rows shared by several processes
 * docs/SEARCH.md. */
#define _GNU_SOURCE
#include "common/ranks.h"
#include "queries.h"
#include "ranks.h"
#include <stdio.h>
#include <string.h>

/* One run. */
typedef struct {
    ms_search_settings *set;
    ms_search_corpus corpus;
    ms_search_queries queries;
    ms_search_names names;
    ms_search_found found;
    ms_search_answers answers;
    ms_search_ranks *ranks;  /* owned; NULL in a process of its own */
    msim_searcher *searcher; /* owned; of rank 0 */
} search_job;

/* ---- The end ---- */

static void summarise(const search_job *j) {
    const ms_search_answers *a = &j->answers;
    msim_searcher_stats stats = {.size = sizeof stats};
    char rows[32], queries[32], variants[48] = "", embedded[64] = "", how[96] = "", ranks[32] = "",
                                device[MS_CLI_DEVICE_BYTES];
    msim_searcher_get_stats(j->searcher, &stats);
    if (stats.cut)
        ms_cli_note("%s quer%s longer than %lld tokens: only the beginning is used",
                    ms_cli_count(queries, stats.cut), stats.cut == 1 ? "y is" : "ies are",
                    (long long)j->queries.model.max_tokens);
    if (a->n_searched == 0) return;
    if (a->out.n_nonfinite)
        ms_cli_warning("%s row%s with NaN or infinity, ranked last: %s",
                       ms_cli_count(rows, a->out.n_nonfinite), ms_cli_plural(a->out.n_nonfinite),
                       j->set->corpora.items[0]);
    if (j->queries.model.model) {
        const msim_model_info *info = &j->queries.model.info;
        snprintf(variants, sizeof variants, " x %zu variant%s", j->queries.midi_variants,
                 ms_cli_plural(j->queries.midi_variants));
        snprintf(embedded, sizeof embedded, "embedded in %.2f s, ", stats.embed_seconds);
        snprintf(how, sizeof how, "%s, %s, ",
                 info->device == MSIM_DEVICE_CUDA ? "cuda" : msim_isa_name(info->isa),
                 msim_precision_name(info->precision));
    }
    if (ms_ranks_count() > 1) snprintf(ranks, sizeof ranks, ", %d ranks", ms_ranks_count());
    ms_cli_note("%s quer%s%s over %s rows: %ssearched in %.2f s (%sscan %s%s%s%s)",
                ms_cli_count(queries, a->n_searched), a->n_searched == 1 ? "y" : "ies", variants,
                ms_cli_count(rows, j->corpus.info.rows), embedded, stats.search_seconds, how,
                a->out.scan ? a->out.scan : "none", a->out.device == MSIM_DEVICE_CUDA ? " on " : "",
                a->out.device == MSIM_DEVICE_CUDA
                    ? ms_cli_device_words(device, a->out.device, j->set->common.gpu)
                    : "",
                ranks);
}

static int no_match(const search_job *j, msim_error *err) {
    if (j->set->has_threshold)
        return ms_fail(err, MSIM_E_EMPTY, "no match: %.300s: no row scores %g or more",
                       j->set->corpora.items[0], j->set->threshold);
    return ms_fail(err, MSIM_E_EMPTY, "no match: %.300s: every row is excluded",
                   j->set->corpora.items[0]);
}

/* What was searched is printed and copied: say how it went. *has_failures: something that was given
 * could not be used, and was said already. */
static int finish(search_job *j, bool *has_failures, msim_error *err) {
    msim_error e;
    ms_search_queries *q = &j->queries;
    ms_search_answers *a = &j->answers;
    *has_failures = (a->copier && ms_copy_to_finish(a->copier) > 0) || q->n_failed > 0 ||
                    ms_cli_skips_failures(q->skips) > 0;
    (void)ms_cli_skips_close(q->skips, &e); /* writes no file */
    q->skips = NULL;
    summarise(j);
    if (!ms_cli_stopped()) {
        int rc = ms_search_answers_write(a, err);
        if (rc < 0) return rc;
    }
    bool is_empty = a->n_searched > 0 && a->n_matches + a->n_found == 0 && !ms_cli_stopped();
    return is_empty && !*has_failures ? no_match(j, err) : 0;
}

/* ---- The search ---- */

/* Of twelve: with three, the right one was left out for 2 of 48 pieces, and these were still among
 * the first ten (docs/SEARCH.md, Likely keys). */
enum { LIKELY_KEYS = 3 };

/* Rank 0's searcher; with several ranks their passes are its own. */
static int open_searcher(search_job *j, const msim_passes *passes, msim_error *err) {
    const ms_search_settings *set = j->set;
    const ms_search_model *model = &j->queries.model;
    msim_options o = ms_cli_library_options(&set->common);
    msim_searcher_options so = msim_searcher_options_default();
    so.k = set->k;
    so.has_threshold = set->has_threshold;
    so.threshold = set->threshold;
    so.metric = set->metric;
    so.scan = set->scan;
    so.keep = set->format == MS_RESULTS_MIDISIM ? MSIM_KEEP_EACH
              : set->keeps_variants             ? MSIM_KEEP_ALL
                                                : MSIM_KEEP_BEST;
    so.transpose = (int)set->transpose;
    so.likely_keys = set->keys && model->model ? LIKELY_KEYS : 0;
    so.max_tokens = model->max_tokens;
    so.window_tokens = model->window_tokens;
    so.window_step = model->window_step;
    so.is_pooled = model->is_pooled;
    so.class_weights = model->is_weighted ? model->weights : NULL;
    so.excluded = j->names.excluded;
    so.n_excluded = j->names.n_excluded;
    so.excludes_self = set->excludes_self;
    so.max_vectors = ms_search_queries_room(&j->queries);
    so.should_stop = ms_cli_should_stop;
    so.passes = passes;
    if (so.likely_keys && so.window_tokens)
        return ms_fail(err, MSIM_E_ARG,
                       "--keys likely is for corpora of whole pieces: %.300s has windows",
                       set->corpora.items[0]);
    int rc = msim_searcher_open(model->model, j->corpus.corpus, &o, &so, &j->searcher, err);
    if (rc >= 0 && msim_searcher_has_meaning(j->searcher)) j->answers.out.searcher = j->searcher;
    return rc;
}

/* Rank 0, which has the queries. */
static int search_first(search_job *j, bool *has_failures, msim_error *err) {
    int rc =
        ms_search_queries_run(&j->queries, &j->names, &j->found, j->searcher, &j->answers, err);
    if (j->ranks) ms_search_ranks_dismiss(j->ranks);
    if (rc >= 0) rc = msim_corpus_check(j->corpus.corpus, err); /* names were read since */
    /* Nothing more can be written, or a signal came: ms_cli_finish knows. */
    if (rc == -MSIM_E_STOPPED) rc = 0;
    if (rc >= 0) return finish(j, has_failures, err);
    ms_cli_error("%s", err->text);
    (void)finish(j, has_failures, err);
    *has_failures = true;
    return 0;
}

/* Every rank. */
static int search(search_job *j, bool *has_failures, msim_error *err) {
    bool is_first = ms_ranks_index() == 0, is_alone = ms_ranks_count() == 1;
    msim_passes passes;
    int rc = is_first ? ms_search_answers_open(&j->corpus, j->found.notes, &j->answers, err) : 0;
    rc = ms_ranks_agree(rc, err);
    if (rc >= 0 && !is_alone)
        rc = ms_search_ranks_open(&j->corpus, is_first ? ms_search_queries_room(&j->queries) : 0,
                                  &j->ranks, err);
    if (rc < 0) return rc;
    if (j->ranks) passes = ms_search_ranks_passes(j->ranks);
    rc = is_first ? open_searcher(j, j->ranks ? &passes : NULL, err) : 0;
    rc = ms_ranks_agree(rc, err);
    if (rc < 0) return rc;
    if (ms_ranks_stopped()) return ms_fail(err, MSIM_E_STOPPED, "stopped");
    if (is_first) return search_first(j, has_failures, err);
    ms_search_ranks_serve(j->ranks);
    return 0;
}

/* ---- All of it ---- */

/* Rank 0: the names that matter for the queries, and the note index. */
static int open_names(search_job *j, msim_error *err) {
    int rc = ms_search_names_open(&j->corpus, &j->names, err);
    if (rc >= 0 && j->set->excludes_self)
        rc = ms_search_queries_want_self(&j->queries, &j->names, err);
    if (rc >= 0) rc = ms_search_names_scan(&j->names, err);
    return rc < 0 ? rc : ms_search_found_open(&j->names, &j->found, err);
}

/* Every rank: what rank 0 has whitened, the others only open. */
static int open_corpus(search_job *j, msim_error *err) {
    bool is_first = ms_ranks_index() == 0;
    int rc = ms_search_corpus_open(j->set, &j->corpus, err);
    if (!j->set->is_whitened) return rc;
    if (is_first && rc >= 0) rc = ms_search_corpus_whiten(&j->corpus, true, err);
    rc = ms_ranks_agree(rc, err);
    if (!is_first && rc >= 0) rc = ms_search_corpus_whiten(&j->corpus, false, err);
    return ms_ranks_agree(rc, err);
}

static int run(search_job *j, bool *has_failures, msim_error *err) {
    bool has_queries = ms_search_has_queries(j->set), is_first = ms_ranks_index() == 0;
    int rc = open_corpus(j, err);
    if (is_first && rc >= 0 && has_queries)
        rc = ms_search_queries_open(&j->corpus, &j->queries, err);
    if (is_first && rc >= 0) rc = ms_search_codes_attach(&j->corpus, true, err);
    rc = ms_ranks_agree(rc, err);
    if (rc < 0 || !has_queries) return rc;
    /* What rank 0 has written or checked, the others only take. */
    rc = is_first ? open_names(j, err) : ms_search_codes_attach(&j->corpus, false, err);
    rc = ms_ranks_agree(rc, err);
    if (rc < 0) return rc;
    if (ms_ranks_stopped()) return ms_fail(err, MSIM_E_STOPPED, "stopped");
    return search(j, has_failures, err);
}

static void close_job(search_job *j) {
    msim_searcher_close(j->searcher);
    ms_search_ranks_close(j->ranks);
    ms_search_answers_close(&j->answers);
    ms_search_found_close(&j->found);
    ms_search_names_close(&j->names);
    if (j->queries.corpus) ms_search_queries_close(&j->queries);
    ms_search_corpus_close(&j->corpus);
}

int main(int argc, char **argv) {
    static search_job j;
    static ms_search_settings set; /* its lists live as long as the process */
    bool has_failures = false;
    msim_error e;
    if (argc > 1 && strcmp(argv[1], "--generate-rows") == 0)
        return ms_cli_finish(ms_search_complete_rows(argc, argv));
    ms_ranks_begin(&argc, &argv);
    set = ms_search_settings_default();
    int rc = ms_cli_parse(&ms_search_tool, argc, argv, &set);
    if (rc == 0 && ms_search_check_usage(&set, &e) < 0) rc = ms_cli_usage("%s", e.text);
    if (rc != 0) return ms_ranks_end(ms_cli_finish(rc));
    j.set = &set;
    ms_cli_catch_signals();
    rc = run(&j, &has_failures, &e);
    if (rc < 0 && !ms_cli_stopped()) ms_cli_error("%s", e.text);
    close_job(&j);
    return ms_ranks_end(ms_cli_finish(has_failures ? -MSIM_E_IO : rc));
}
