/* Answers of the searcher, printed and copied. Contract: tools/search/answers.h. */
#define _GNU_SOURCE
#include "answers.h"
#include "print/shown.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Width to cut names to: COLUMNS where it is set, else the terminal's; 0: no cutting. */
static int table_columns(void) {
    const char *text = getenv("COLUMNS");
    int64_t columns;
    return text && ms_cli_int(text, 1, 100000, &columns) ? (int)columns
                                                         : ms_cli_columns(STDOUT_FILENO);
}

int ms_search_answers_open(const ms_search_corpus *corpus, const msim_notes *notes,
                           ms_search_answers *out, msim_error *err) {
    const ms_search_settings *set = corpus->set;
    ms_copy_to_request request = {.folder = set->copy_to,
                                  .roots = &set->midi_roots,
                                  .is_forced = set->is_forced,
                                  .omits_original = set->omits_original};
    *out = (ms_search_answers){.set = set,
                               .out = {.corpus = corpus->corpus,
                                       .notes = notes,
                                       .format = set->format,
                                       .columns = table_columns(),
                                       .is_product = set->metric == MSIM_METRIC_IP,
                                       .has_threshold = set->has_threshold,
                                       .threshold = set->threshold}};
    int has_spans = msim_corpus_has_spans(corpus->corpus, err);
    if (has_spans < 0) return has_spans;
    int has_bars = msim_corpus_has_bars(corpus->corpus, err);
    if (has_bars < 0) return has_bars;
    out->out.has_spans = has_spans;
    out->out.has_bars = has_bars;
    out->out.n_pieces = msim_corpus_pieces(corpus->corpus, err);
    int rc = ms_html_open(set->html, &set->midi_roots, NULL, notes, &out->html, err);
    return rc >= 0 && set->copy_to ? ms_copy_to_open(&request, &out->copier, err) : rc;
}

static void forget_waiting(ms_search_answers *a) {
    for (size_t i = 0; i < a->n_waiting; i++) {
        ms_free(a->waiting[i].label);
        ms_free(a->waiting[i].stream);
        ms_asked_free(&a->waiting[i].asked);
    }
    a->n_waiting = 0;
}

void ms_search_answers_close(ms_search_answers *a) {
    forget_waiting(a);
    ms_copy_to_close(a->copier);
    ms_html_close(&a->html);
    ms_results_free(&a->out);
    ms_free(a->listed);
}

static int keep_texts(const ms_search_answers *a, const ms_search_query *query, ms_search_query *q,
                      msim_error *err) {
    q->label = ms_alloc(query->n_label, 1, "a query's name", err);
    if (!q->label) return -MSIM_E_MEMORY;
    if (query->n_label) memcpy(q->label, query->label, query->n_label);
    if (!query->stream || (!a->copier && !a->html.report)) return 0;
    q->stream = ms_alloc(query->stream_bytes, 1, "a query's bytes", err);
    if (!q->stream) return -MSIM_E_MEMORY;
    memcpy(q->stream, query->stream, query->stream_bytes);
    return 0;
}

int ms_search_answers_expect(ms_search_answers *a, ms_search_query *query, msim_error *err) {
    if (a->n_waiting == MS_SEARCH_VECTORS) {
        ms_asked_free(&query->asked);
        return ms_fail(err, MSIM_E_LIMIT, "more than %d queries wait for their answers",
                       MS_SEARCH_VECTORS);
    }
    ms_search_query *q = a->waiting + a->n_waiting++;
    *q = *query;
    q->label = NULL;
    q->stream = NULL;
    query->asked = (ms_asked){0};
    return keep_texts(a, query, q, err);
}

/* ---- Answers ---- */

static int print_matches(ms_search_answers *a, const ms_search_query *q, int64_t n_variants,
                         const msim_match *matches, const msim_span *spans,
                         const msim_bar_span *bars, int64_t n) {
    ms_results_query result = {.label = q->label,
                               .n_label = q->n_label,
                               .n_variants = n_variants,
                               .matches = matches,
                               .spans = spans,
                               .bars = bars,
                               .n = n,
                               .asked = q->has_notes ? &q->asked : NULL};
    ms_copy_to_query query = {.label = q->label,
                              .n_label = q->n_label,
                              .walk = q->walk,
                              .input = q->input,
                              .stream = q->stream,
                              .stream_bytes = q->stream_bytes,
                              .is_row = q->is_row,
                              .asked = result.asked};
    a->n_matches += n;
    a->n_found += q->asked.n_matches;
    if (ms_results_print(&a->out, &result) != 0 || ms_cli_flush() != 0) return 1;
    if (a->copier) ms_copy_to_add(a->copier, &query, &a->out, matches, n);
    return a->html.report && ms_search_show(a, q, &result, &a->failed) < 0;
}

static int print_as_original(ms_search_answers *a, const ms_search_query *q,
                             const msim_answer *answer) {
    size_t n = (size_t)answer->n_matches;
    int64_t rc = ms_grow((void **)&a->listed, &a->listed_cap, n ? n : 1, sizeof *a->listed,
                         "matches", &a->failed);
    if (rc >= 0)
        rc = ms_results_as_original(a->out.corpus, answer->matches, answer->n_matches,
                                    answer->variants, a->set->keeps_variants, a->listed,
                                    &a->failed);
    return rc < 0 ? 1 : print_matches(a, q, answer->variants, a->listed, NULL, NULL, rc);
}

static int take_answer(void *user, const msim_answer *answer) {
    ms_search_answers *a = user;
    const ms_search_query *q = a->waiting + answer->query;
    const char *scan = msim_scan_name(answer->pass->scan);
    ms_cli_progress_hide();
    a->out.n_nonfinite = answer->pass->rows_nonfinite;
    a->out.n_evaluated = answer->pass->rows_evaluated;
    a->out.scan = scan ? scan : "unknown";
    a->out.device = answer->pass->device;
    a->out.answer = answer;
    return a->set->format == MS_RESULTS_MIDISIM
               ? print_as_original(a, q, answer)
               : print_matches(a, q, answer->variants, answer->matches, answer->query_spans,
                               answer->query_bars, answer->n_matches);
}

int ms_search_answers_run(ms_search_answers *a, msim_searcher *s, msim_error *err) {
    a->n_searched += (int64_t)a->n_waiting;
    int64_t rc = msim_searcher_run(s, take_answer, a, err);
    forget_waiting(a);
    if (rc == -MSIM_E_STOPPED && a->failed.code)
        return ms_fail(err, a->failed.code, "%s", a->failed.text);
    return rc < 0 ? (int)rc : 0;
}

int ms_search_answers_write(ms_search_answers *a, msim_error *err) {
    return ms_html_write(&a->html, err);
}
