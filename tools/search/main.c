/* midisim-search: the rows of a corpus that are nearest to a piece. Queries are MIDI files, rows of
 * the corpus, or vectors from other files; they are searched exactly, in groups, so that the corpus
 * is passed once for several of them. Results come in the order of the queries. The parts are in
 * tools/search/search.h. docs/SEARCH.md. */
#define _GNU_SOURCE
#include "common/ranks.h"
#include "search.h"
#include <stdio.h>

static void summarise(const ms_search_job *j) {
    char rows[32], queries[32], variants[48] = "", embedded[64] = "", how[96] = "", ranks[32] = "",
                                device[MS_CLI_DEVICE_BYTES];
    if (j->n_cut)
        ms_cli_note("%s quer%s longer than %lld tokens: only the beginning is used",
                    ms_cli_count(queries, j->n_cut), j->n_cut == 1 ? "y is" : "ies are",
                    (long long)j->max_tokens);
    if (j->n_searched == 0) return;
    if (j->out.n_nonfinite)
        ms_cli_warning("%s row%s with NaN or infinity, ranked last: %s",
                       ms_cli_count(rows, j->out.n_nonfinite), j->out.n_nonfinite == 1 ? "" : "s",
                       j->set->corpora.items[0]);
    if (j->model) {
        bool is_cuda = j->model_info.device == MSIM_DEVICE_CUDA;
        snprintf(variants, sizeof variants, " x %zu variant%s", j->midi_variants,
                 j->midi_variants == 1 ? "" : "s");
        snprintf(embedded, sizeof embedded, "embedded in %.2f s, ", j->embed_seconds);
        snprintf(how, sizeof how, "%s, %s, ", is_cuda ? "cuda" : msim_isa_name(j->model_info.isa),
                 msim_precision_name(j->model_info.precision));
    }
    if (ms_ranks_count() > 1) snprintf(ranks, sizeof ranks, ", %d ranks", ms_ranks_count());
    ms_cli_note("%s quer%s%s over %s rows: %ssearched in %.2f s (%sscan %s%s%s%s)",
                ms_cli_count(queries, j->n_searched), j->n_searched == 1 ? "y" : "ies", variants,
                ms_cli_count(rows, j->rows.rows), embedded, j->search_seconds, how,
                j->out.scan ? j->out.scan : "none", j->out.device == MSIM_DEVICE_CUDA ? " on " : "",
                j->out.device == MSIM_DEVICE_CUDA
                    ? ms_cli_device_words(device, j->out.device, j->set->common.gpu)
                    : "",
                ranks);
}

static int no_match(const ms_search_job *j) {
    if (j->set->has_threshold)
        ms_cli_error("no match: %s: expected rows that score %g or more, got none",
                     j->set->corpora.items[0], j->set->threshold);
    else
        ms_cli_error("no match: %s: every row is excluded", j->set->corpora.items[0]);
    return MS_EXIT_FAILED;
}

/* What is printed and copied. */
static int finish(ms_search_job *j, int status) {
    msim_error e;
    if (j->copier && ms_copy_to_finish(j->copier) > 0) status = MS_EXIT_FAILED;
    if (j->n_failed > 0 || ms_files_skips_failures(j->skips) > 0) status = MS_EXIT_FAILED;
    (void)ms_files_skips_close(j->skips, &e);
    j->skips = NULL;
    summarise(j);
    bool is_empty = j->n_searched > 0 && j->n_matches == 0 && !ms_cli_stopped();
    return status == MS_EXIT_OK && is_empty ? no_match(j) : status;
}

/* Every rank: rank 0 has the queries. */
static int search(ms_search_job *j) {
    const ms_search_settings *set = j->set;
    ms_copy_to_request request = {.folder = set->copy_to,
                                  .roots = &set->midi_roots,
                                  .is_forced = set->is_forced,
                                  .omits_original = set->omits_original};
    bool is_first = ms_ranks_index() == 0;
    msim_error e;
    int rc = set->copy_to && is_first ? ms_copy_to_open(&request, &j->copier, &e) : 0;
    rc = ms_ranks_agree(rc, &e);
    if (rc >= 0) rc = ms_search_open_pass(j, &e);
    if (rc < 0) {
        if (!ms_cli_stopped()) ms_cli_error("%s", e.text);
        return ms_cli_exit_of(rc);
    }
    if (ms_ranks_stopped()) return MS_EXIT_FAILED;
    if (!is_first) {
        ms_search_serve(j);
        return MS_EXIT_OK;
    }
    int status = ms_search_run_queries(j);
    ms_search_dismiss(j);
    return finish(j, status);
}

static int run(ms_search_job *j) {
    const ms_search_settings *set = j->set;
    bool has_queries = set->common.operands.n + set->likes.n + set->vectors.n > 0,
         is_first = ms_ranks_index() == 0;
    int status = ms_search_open_corpus(j);
    if (is_first && status < 0 && has_queries) status = ms_search_open_queries(j);
    if (is_first && status < 0) status = ms_search_attach_codes(j);
    status = ms_ranks_agree_status(status);
    if (status >= 0) return status;
    if (!has_queries) return MS_EXIT_OK;
    /* What rank 0 has written or checked, the others only take. */
    if (!is_first) {
        j->set->prepares = false;
        status = ms_search_attach_codes(j);
    } else {
        status = ms_search_find_names(j);
    }
    status = ms_ranks_agree_status(status);
    if (ms_ranks_stopped()) return MS_EXIT_FAILED;
    return status < 0 ? search(j) : status;
}

static void close_job(ms_search_job *j) {
    ms_search_close_pass(j);
    ms_search_close_queries(j);
    ms_copy_to_close(j->copier);
    msim_tokenizer_close(j->tokenizer);
    msim_model_close(j->model);
    msim_corpus_close(j->corpus);
}

int main(int argc, char **argv) {
    static ms_search_job j;
    static ms_search_settings set; /* its lists live as long as the process */
    ms_ranks_begin(&argc, &argv);
    set = ms_search_settings_default();
    int status = ms_cli_parse(&ms_search_tool, argc, argv, &set);
    if (status >= 0) return ms_ranks_end(status);
    j.set = &set;
    status = ms_search_check_usage(&set);
    if (status < 0) {
        ms_cli_catch_signals();
        status = run(&j);
        close_job(&j);
    }
    return ms_ranks_end(ms_cli_finish(status));
}
