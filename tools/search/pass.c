/* One pass over the rows for a group of queries: the K best of each, or all above the threshold;
 * then each query's matches are ranked, printed and copied. Contract: tools/search/search.h. */
#define _GNU_SOURCE
#include "common/ranks.h"
#include "search.h"
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

/* Rows to fetch so that `extra` of them may be dropped afterwards. */
static int64_t fetched(const ms_search_job *j, int64_t extra) {
    return j->rows.rows - j->set->k < extra ? j->rows.rows : j->set->k + extra;
}

int ms_search_open_pass(ms_search_job *j, msim_error *err) {
    const ms_search_settings *set = j->set;
    size_t others = (size_t)j->n_queries - j->files.n;
    bool is_few = j->n_queries < MS_SEARCH_VECTORS;
    j->group_cap = MS_SEARCH_VECTORS;
    if (is_few && j->files.n * j->midi_variants + others < j->group_cap)
        j->group_cap = j->files.n * j->midi_variants + others;
    if (j->group_cap == 0) j->group_cap = 1;
    ms_ranks_broadcast(0, &j->group_cap, sizeof j->group_cap);
    int64_t most = set->has_threshold ? 1 : fetched(j, set->excludes_self ? MS_SEARCH_EXTRA : 0);
    j->vectors = ms_cli_alloc(j->group_cap * (size_t)j->rows.dim, sizeof *j->vectors);
    j->hit_rows = ms_cli_alloc(j->group_cap * (size_t)most, sizeof *j->hit_rows);
    j->hit_scores = ms_cli_alloc(j->group_cap * (size_t)most, sizeof *j->hit_scores);
    j->out = (ms_results_out){.corpus = j->corpus,
                              .format = set->format,
                              .columns = table_columns(),
                              .has_color = ms_cli_color(STDOUT_FILENO),
                              .is_product = set->metric == MSIM_METRIC_IP,
                              .has_threshold = set->has_threshold,
                              .threshold = set->threshold};
    msim_options o = ms_cli_library_options(&set->common);
    o.precision = MSIM_PRECISION_BF16; /* of a model; there is none here */
    o.max_queries = (int64_t)j->group_cap;
    o.max_k = most;
    int rc = msim_context_open(NULL, &o, &j->searcher, err);
    if (rc >= 0) rc = ms_search_load_part(j, err);
    return ms_ranks_agree(rc, err);
}

/* ---- Output ---- */

static int compare_rows(const void *a, const void *b) {
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static bool is_self(const ms_search_query *q, int64_t row) {
    return q->n_self && bsearch(&row, q->self, q->n_self, sizeof row, compare_rows);
}

static int print_query(ms_search_job *j, const ms_search_query *q, int64_t n) {
    ms_results_query result = {.label = q->label,
                               .n_label = q->n_label,
                               .n_variants = q->n_variants,
                               .matches = j->matches,
                               .n = n};
    j->n_matches += n;
    if (ms_results_print(&j->out, &result) != 0) return 1;
    if (!j->copier) return 0;
    ms_copy_to_query query = {.label = q->label,
                              .n_label = q->n_label,
                              .file = q->file,
                              .stream = q->stream,
                              .stream_bytes = q->stream_bytes,
                              .is_row = q->is_row};
    ms_copy_to_add(j->copier, &query, &j->out, j->matches, n);
    return 0;
}

static void take_time(ms_search_job *j, double began) {
    j->search_seconds += ms_cli_now() - began;
    ms_cli_progress_end();
}

/* ---- The K best ---- */

/* Take the query's own rows out of a variant's n hits; the rest moves up. */
static void drop_self(const ms_search_query *q, int64_t *rows, double *scores, int64_t n) {
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (!is_self(q, rows[i])) {
            rows[kept] = rows[i];
            scores[kept++] = scores[i];
        }
}

/* Rank the n best of each variant (`stride` apart) and print the query. */
static int finish_top(ms_search_job *j, const ms_search_query *q, int64_t *rows, double *scores,
                      int64_t n, int64_t stride) {
    bool keeps_all = j->set->keeps_variants;
    int64_t n_matches = 0;
    j->matches =
        ms_cli_grow(j->matches, &j->matches_cap, q->n_variants * (size_t)n, sizeof *j->matches);
    if (j->set->format == MS_RESULTS_MIDISIM) {
        n_matches = ms_results_rank_as_original(rows, scores, q->n_variants, n, stride, keeps_all,
                                                j->matches);
        return n_matches < 0 ? 1 : print_query(j, q, n_matches);
    }
    for (size_t v = 0; v < q->n_variants; v++)
        for (int64_t i = 0; i < n; i++)
            j->matches[n_matches++] =
                (ms_results_match){.row = rows[(int64_t)v * stride + i],
                                   .score = scores[(int64_t)v * stride + i],
                                   .transpose = (int)v - (int)(q->n_variants / 2)};
    n_matches = ms_results_rank(j->matches, n_matches, keeps_all);
    return print_query(j, q, n_matches < j->set->k ? n_matches : j->set->k);
}

/* Queries from .. to - 1 of the group. Their own rows are fetched in excess and dropped; where one
 * has too many for that, it comes alone and they are left out from the start. */
static int search_top(ms_search_job *j, msim_search_options *options, size_t from, size_t to,
                      msim_error *err) {
    const ms_search_query *first = j->group + from, *last = j->group + to - 1;
    size_t n_vectors = last->first + last->n_variants - first->first, n_excluded = j->n_excluded,
           cap = 0, extra = 0;
    int64_t *excluded = NULL;
    int rc = 0;
    for (size_t i = from; i < to; i++)
        extra = j->group[i].n_self > extra ? j->group[i].n_self : extra;
    if (extra > MS_SEARCH_EXTRA) {
        excluded = ms_cli_grow(NULL, &cap, n_excluded + extra, sizeof *excluded);
        if (n_excluded) memcpy(excluded, j->excluded, n_excluded * sizeof *excluded);
        memcpy(excluded + n_excluded, first->self, extra * sizeof *excluded);
        n_excluded += extra;
        ms_search_sort_rows(excluded, &n_excluded);
        options->excluded = excluded;
        options->n_excluded = n_excluded;
        extra = 0;
    }
    double began = ms_cli_now();
    int64_t stride = fetched(j, (int64_t)extra);
    int64_t n = ms_search_top(j, options, j->vectors + first->first * (size_t)j->rows.dim,
                              n_vectors, stride, err);
    free(excluded);
    if (n < 0) return (int)n;
    take_time(j, began);
    for (size_t i = from; i < to && rc == 0; i++) {
        const ms_search_query *q = j->group + i;
        int64_t *rows = j->hit_rows + (int64_t)(q->first - first->first) * stride;
        double *scores = j->hit_scores + (int64_t)(q->first - first->first) * stride;
        int64_t left = extra ? n - (int64_t)q->n_self : n;
        for (size_t v = 0; extra && v < q->n_variants; v++)
            drop_self(q, rows + (int64_t)v * stride, scores + (int64_t)v * stride, n);
        rc = finish_top(j, q, rows, scores, left < j->set->k ? left : j->set->k, stride);
    }
    return rc;
}

/* ---- All above the threshold ---- */

static int by_vector(const void *a, const void *b) {
    const ms_search_hit *x = a, *y = b;
    return (x->vector > y->vector) - (x->vector < y->vector);
}

static int search_above(ms_search_job *j, const msim_search_options *options, msim_error *err) {
    double began = ms_cli_now();
    size_t at = 0;
    int rc = 0;
    if ((rc = ms_search_above(j, options, err)) < 0) return rc;
    if (ms_cli_stopped()) return 0; /* hits may be missing */
    take_time(j, began);
    if (j->n_hits) qsort(j->hits, j->n_hits, sizeof *j->hits, by_vector);
    for (size_t i = 0; i < j->n_group && rc == 0; i++) {
        const ms_search_query *q = j->group + i;
        int64_t n_matches = 0;
        for (; at < j->n_hits && j->hits[at].vector < q->first + q->n_variants; at++) {
            if (is_self(q, j->hits[at].row)) continue;
            j->matches =
                ms_cli_grow(j->matches, &j->matches_cap, (size_t)n_matches + 1, sizeof *j->matches);
            j->matches[n_matches++] = (ms_results_match){
                .row = j->hits[at].row,
                .score = j->hits[at].score,
                .transpose = (int)(j->hits[at].vector - q->first) - (int)(q->n_variants / 2)};
        }
        n_matches = ms_results_rank(j->matches, n_matches, j->set->keeps_variants);
        rc = print_query(j, q, n_matches);
    }
    return rc;
}

/* ---- A group ---- */

static void empty_group(ms_search_job *j) {
    for (size_t i = 0; i < j->n_group; i++) {
        free(j->group[i].label);
        free(j->group[i].stream);
        free(j->group[i].self);
    }
    j->n_group = j->n_vectors = 0;
}

int ms_search_pass(ms_search_job *j, msim_error *err) {
    int rc = 0;
    for (size_t from = 0, to; from < j->n_group && rc == 0; from = to) {
        msim_search_options options = msim_search_options_default();
        options.metric = j->set->metric;
        options.scan = j->set->scan;
        options.excluded = j->excluded;
        options.n_excluded = j->n_excluded;
        to = from + 1;
        if (j->set->has_threshold) {
            to = j->n_group;
            rc = search_above(j, &options, err);
        } else {
            while (to < j->n_group && j->group[from].n_self <= MS_SEARCH_EXTRA &&
                   j->group[to].n_self <= MS_SEARCH_EXTRA)
                to++;
            rc = search_top(j, &options, from, to, err);
        }
    }
    j->n_searched += (int64_t)j->n_group;
    empty_group(j);
    return rc;
}

void ms_search_close_pass(ms_search_job *j) {
    empty_group(j);
    msim_context_close(j->searcher);
    ms_results_free(&j->out);
    free(j->vectors);
    free(j->hit_rows);
    free(j->hit_scores);
    free(j->hits);
    free(j->matches);
}
