/* Contract: tools/search/print/shown.h. */
#include "shown.h"
#include "base/mem.h"
#include <string.h>

typedef struct {
    ms_search_answers *a;
    const ms_results_query *result;
    int64_t query;
    bool *is_shown; /* owned: [result->n] */
} showing;

/* ---- The query ---- */

static int64_t add_query(ms_search_answers *a, const ms_search_query *q, msim_error *err) {
    msim_walk_item item = {.size = sizeof item};
    ms_html *html = &a->html;
    if (q->walk && !q->stream && msim_walk_get_input(q->walk, q->input, &item) >= 0 &&
        !item.is_stream)
        return ms_html_query(html, q->label, q->n_label, item.path, NULL, -1, -1, err);
    if (!q->stream) return ms_html_query(html, q->label, q->n_label, NULL, NULL, -1, -1, err);
    const int64_t piece =
        msim_report_add_midi(html->report, q->label, q->n_label, q->stream, q->stream_bytes, err);
    if (piece >= 0) return msim_report_add_query(html->report, piece, -1, -1, err);
    if (piece == -MSIM_E_MEMORY) return piece;
    return ms_html_query(html, q->label, q->n_label, NULL, NULL, -1, -1, err);
}

/* ---- Matches ---- */

/* The piece of match i, by its name. */
static int64_t add_row(const showing *s, int64_t i, msim_error *err) {
    const int64_t n = ms_results_name(&s->a->out, s->result->matches[i].row);
    if (n < 0) return ms_fail(err, MSIM_E_MEMORY, "out of memory: a name");
    return msim_report_add_piece(s->a->html.report, s->a->out.name, (size_t)n, NULL, err);
}

static void put_likeness(const showing *s, int64_t i, msim_report_match *out) {
    const msim_match *m = &s->result->matches[i];
    msim_meaning meaning = {.size = sizeof meaning};
    out->has_score = 1;
    out->score = m->score;
    out->transpose = m->transpose;
    out->from = m->from_seconds;
    out->to = m->to_seconds;
    if (s->result->spans) {
        out->query_from = s->result->spans[i].from_seconds;
        out->query_to = s->result->spans[i].to_seconds;
    }
    if (!s->a->out.searcher || !s->a->out.answer ||
        msim_searcher_explain(s->a->out.searcher, s->a->out.answer, i, &meaning) < 0)
        return;
    out->likeness = meaning.likeness;
    out->chance = meaning.matches;
}

/* The first match that is this piece; result->n when there is none. */
static int64_t row_of(const showing *s, int64_t piece, msim_error *err) {
    for (int64_t i = 0; i < s->result->n; i++) {
        const int64_t other = add_row(s, i, err);
        if (other < 0) return other;
        if (other == piece) return i;
    }
    return s->result->n;
}

static int show_found(showing *s, msim_error *err) {
    const ms_asked *asked = s->result->asked;
    for (int64_t i = 0; asked && s->a->html.notes && i < asked->n_matches; i++) {
        msim_report_match match = msim_report_match_default();
        match.notes = &asked->matches[i];
        match.piece = ms_html_piece(&s->a->html, match.notes, err);
        const int64_t row = match.piece < 0 ? match.piece : row_of(s, match.piece, err);
        if (row < 0) return (int)row;
        if (row < s->result->n) {
            put_likeness(s, row, &match);
            s->is_shown[row] = true;
        }
        const int64_t rc = msim_report_add_match(s->a->html.report, s->query, &match, err);
        if (rc < 0) return (int)rc;
    }
    return 0;
}

static int show_alike(showing *s, msim_error *err) {
    for (int64_t i = 0; i < s->result->n; i++) {
        msim_report_match match = msim_report_match_default();
        if (s->is_shown[i]) continue;
        match.piece = add_row(s, i, err);
        if (match.piece < 0) return (int)match.piece;
        put_likeness(s, i, &match);
        const int64_t rc = msim_report_add_match(s->a->html.report, s->query, &match, err);
        if (rc < 0) return (int)rc;
    }
    return 0;
}

int ms_search_show(ms_search_answers *a, const ms_search_query *query,
                   const ms_results_query *result, msim_error *err) {
    showing s = {.a = a, .result = result, .query = add_query(a, query, err)};
    if (s.query < 0) return (int)s.query;
    s.is_shown = ms_alloc((size_t)result->n, sizeof *s.is_shown, "matches", err);
    int rc = s.is_shown ? show_found(&s, err) : -MSIM_E_MEMORY;
    if (rc >= 0) rc = show_alike(&s, err);
    ms_free(s.is_shown);
    return rc;
}
