/* Queries and their matches, as the page reads them. */
#include "report/report.h"
#include "base/sized.h"

int64_t msim_report_add_query(msim_report *r, int64_t piece, double from, double to,
                              msim_error *err) {
    if (piece < 0 || (size_t)piece >= r->n_pieces)
        return ms_fail(err, MSIM_E_ARG, "report: piece: expected 0..%lld, got %lld",
                       (long long)r->n_pieces - 1, (long long)piece);
    int rc = ms_grow((void **)&r->queries, &r->queries_cap, r->n_queries + 1, sizeof *r->queries,
                     "queries", err);
    if (rc < 0) return rc;
    r->queries[r->n_queries] = (ms_report_query){.piece = piece, .from = from, .to = to};
    return (int64_t)r->n_queries++;
}

static void put_range(ms_json_text *text, const char *key, double from, double to) {
    if (from < 0 || to < 0) return;
    ms_report_put_key(text, key);
    ms_report_put(text, "[");
    ms_report_put_real(text, from);
    ms_report_put(text, ",");
    ms_report_put_real(text, to);
    ms_report_put(text, "]");
}

/* What the vectors said. */
static void put_likeness(ms_json_text *text, const msim_report_match *m) {
    const char *word = msim_likeness_name(m->likeness);
    if (!m->has_score) return;
    ms_report_put_key(text, "alike");
    ms_report_put(text, "{\"score\":");
    ms_report_put_real(text, m->score);
    ms_report_put_key(text, "by");
    ms_json_put_int(text, m->transpose);
    if (word && m->likeness != MSIM_LIKENESS_UNKNOWN) {
        ms_report_put_key(text, "word");
        ms_report_put(text, "\"");
        ms_report_put(text, word);
        ms_report_put(text, "\"");
    }
    if (m->chance >= 0) {
        ms_report_put_key(text, "chance");
        ms_report_put_real(text, m->chance);
    }
    put_range(text, "q", m->query_from, m->query_to);
    put_range(text, "m", m->from, m->to);
    ms_report_put(text, "}");
}

/* What the notes said. */
static void put_found(ms_json_text *text, const msim_note_match *m) {
    const char *word = m ? msim_relation_name(m->relation) : NULL;
    if (!m) return;
    ms_report_put_key(text, "found");
    ms_report_put(text, "{\"word\":\"");
    ms_report_put(text, word ? word : "none");
    ms_report_put(text, "\"");
    ms_report_put_key(text, "e");
    ms_report_put_real(text, m->evalue);
    ms_report_put_key(text, "sure");
    ms_json_put_int(text, m->is_significant != 0);
    ms_report_put_key(text, "n");
    ms_json_put_int(text, m->n_matched);
    ms_report_put_key(text, "ofQuery");
    ms_json_put_int(text, m->of_query);
    ms_report_put_key(text, "ofMatch");
    ms_json_put_int(text, m->of_piece);
    ms_report_put_key(text, "by");
    ms_json_put_int(text, m->transpose);
    ms_report_put_key(text, "tempo");
    ms_report_put_real(text, m->tempo);
    ms_report_put(text, "}");
}

static int put_match(msim_report *r, ms_report_query *q, const msim_report_match *m,
                     msim_error *err) {
    ms_json_text *text = &q->matches;
    if (q->n_matches) ms_report_put(text, ",\n");
    ms_report_put(text, "{\"piece\":");
    ms_json_put_int(text, m->piece);
    put_likeness(text, m);
    put_found(text, m->notes);
    int rc =
        ms_report_put_places(r, &r->pieces[q->piece], &r->pieces[m->piece], m->notes, text, err);
    ms_report_put(text, "}");
    return rc;
}

int64_t msim_report_add_match(msim_report *r, int64_t query, const msim_report_match *match,
                              msim_error *err) {
    msim_report_match m;
    if (query < 0 || (size_t)query >= r->n_queries)
        return ms_fail(err, MSIM_E_ARG, "report: query: expected 0..%lld, got %lld",
                       (long long)r->n_queries - 1, (long long)query);
    m.size = sizeof m;
    msim_report_match_init(&m);
    int rc = ms_sized_in(&m, sizeof m, match, "report match", err);
    if (rc < 0) return rc;
    if (m.piece < 0 || (size_t)m.piece >= r->n_pieces)
        return ms_fail(err, MSIM_E_ARG, "report: piece: expected 0..%lld, got %lld",
                       (long long)r->n_pieces - 1, (long long)m.piece);
    ms_report_query *q = &r->queries[query];
    const size_t before = q->matches.n;
    rc = put_match(r, q, &m, err);
    if (rc < 0) {
        q->matches.n = before;
        q->matches.is_failed = false;
        return rc;
    }
    r->n_matches++;
    return q->n_matches++;
}
