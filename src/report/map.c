/* The map of a corpus, as the page reads it: a point for each piece, its name, and the first notes
 * of it. */
#include "report/report.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { STEPS = 65535 /* places on an axis */, ROWS_BETWEEN = 1024 /* two looks at progress */ };

typedef struct {
    const msim_corpus *corpus;
    const float *layout; /* [rows][2]: places that the caller has; NULL: to be found */
    int64_t *rows;       /* owned: [n] the first row of each piece that is a point */
    int64_t n, n_pieces;
    double *points, shares[2]; /* owned: [n][2] */
} mapping;

/* The first row of each piece; of more pieces than points, evenly spread. */
static int choose_rows(msim_report *r, mapping *m, msim_error *err) {
    const int64_t all = msim_corpus_rows(m->corpus);
    msim_span span;
    int64_t last = -1;
    m->rows = ms_alloc((size_t)all, sizeof *m->rows, "rows", err);
    if (!m->rows) return -MSIM_E_MEMORY;
    for (int64_t row = 0; row < all; row++) {
        int rc = row % ROWS_BETWEEN ? MSIM_OK
                                    : ms_report_progress(r, "rows looked at", row, all, err);
        if (rc >= 0) rc = msim_corpus_span(m->corpus, row, &span, err);
        if (rc < 0) return rc;
        if (span.piece != last) m->rows[m->n_pieces++] = row;
        last = span.piece;
    }
    m->n = m->n_pieces < r->o.max_points ? m->n_pieces : r->o.max_points;
    for (int64_t i = 0; i < m->n; i++)
        m->rows[i] = m->rows[(int64_t)((double)i * (double)m->n_pieces / (double)m->n)];
    return MSIM_OK;
}

/* By the rows themselves. */
static int find_places(const msim_report *r, mapping *m, msim_error *err) {
    msim_corpus_info info = {.size = sizeof info};
    (void)msim_corpus_get_info(m->corpus, &info);
    const size_t n = (size_t)m->n, dim = (size_t)info.dim;
    size_t values;
    if (!ms_mul_size(n, dim, &values)) return ms_fail(err, MSIM_E_LIMIT, "map: too many rows");
    float *rows = ms_alloc(values, sizeof *rows, "rows of the map", err);
    int rc = rows ? MSIM_OK : -MSIM_E_MEMORY;
    for (size_t i = 0; i < n && rc >= 0; i++) {
        if (i % ROWS_BETWEEN == 0)
            rc = ms_report_progress(r, "rows read", (int64_t)i, (int64_t)n, err);
        if (rc >= 0) rc = msim_corpus_vector(m->corpus, m->rows[i], rows + i * dim, err);
    }
    if (rc >= 0) rc = msim_corpus_check(m->corpus, err);
    if (rc >= 0 && n) rc = ms_report_pca(r, rows, n, dim, m->points, m->shares, err);
    ms_free(rows);
    return rc;
}

static int place_points(const msim_report *r, mapping *m, msim_error *err) {
    m->points = ms_alloc((size_t)m->n, 2 * sizeof *m->points, "points", err);
    if (!m->points) return -MSIM_E_MEMORY;
    if (!m->layout) return find_places(r, m, err);
    for (int64_t i = 0; i < 2 * m->n; i++) m->points[i] = m->layout[2 * m->rows[i / 2] + i % 2];
    return MSIM_OK;
}

/* Both axes in the same units, over the longer of the two. */
static void put_points(const mapping *m, ms_json_text *text) {
    double low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY};
    for (int64_t i = 0; i < 2 * m->n; i++) {
        low[i % 2] = fmin(low[i % 2], m->points[i]);
        high[i % 2] = fmax(high[i % 2], m->points[i]);
    }
    const double width = fmax(high[0] - low[0], high[1] - low[1]);
    ms_report_put_key(text, "points");
    ms_report_put(text, "[");
    for (int64_t i = 0; i < 2 * m->n; i++) {
        const double x = width > 0 ? (m->points[i] - low[i % 2]) / width : 0.5;
        if (i) ms_report_put(text, ",");
        ms_json_put_int(text, llround(x * STEPS));
    }
    ms_report_put(text, "]");
}

static int put_name(const mapping *m, int64_t row, char **name, size_t *cap, int64_t *n,
                    ms_json_text *text, msim_error *err) {
    *n = msim_corpus_name(m->corpus, row, *name, *cap);
    if (*n >= (int64_t)*cap) {
        int rc = ms_grow((void **)name, cap, (size_t)*n + 1, 1, "a name", err);
        if (rc < 0) return rc;
        *n = msim_corpus_name(m->corpus, row, *name, *cap);
    }
    if (*n < 0) return ms_fail(err, (int)-*n, "map: a row without a name");
    ms_json_put_string(text, *name, (size_t)*n);
    return MSIM_OK;
}

/* [programs of the voices, notes]; 0 where there are none. */
static int put_sound(msim_report *r, const char *name, size_t n, ms_json_text *text,
                     msim_error *err) {
    msim_piece_notes notes;
    msim_loaded_piece *loaded;
    char why[500], number[32];
    int rc = ms_report_read(r, name, n, NULL, &notes, &loaded, why, sizeof why, err);
    if (rc <= MS_REPORT_NOTHING) {
        ms_report_put(text, "0");
        return rc;
    }
    const size_t most = (size_t)r->o.max_point_notes;
    ms_report_put(text, "[[");
    for (size_t v = 0; v < notes.n_voices; v++) {
        const msim_voice *voice = &notes.voices[v];
        snprintf(number, sizeof number, "%s%d", v ? "," : "",
                 voice->channel == MS_DRUM_CHANNEL ? 128 : voice->program);
        ms_report_put(text, number);
    }
    ms_report_put(text, "],");
    rc = ms_report_put_notes(text, notes.notes, notes.n_notes < most ? notes.n_notes : most, err);
    ms_report_put(text, "]");
    msim_notes_free_piece(loaded);
    return rc;
}

static int put_pieces(msim_report *r, const mapping *m, ms_json_text *text, msim_error *err) {
    ms_json_text names = {0}, sounds = {0};
    char *name = NULL;
    size_t cap = 0;
    int64_t n;
    int rc = ms_grow((void **)&name, &cap, 256, 1, "a name", err);
    for (int64_t i = 0; i < m->n && rc >= 0; i++) {
        if (i) ms_report_put(&names, ",");
        if (i) ms_report_put(&sounds, ",");
        rc = ms_report_progress(r, "points", i, m->n, err);
        if (rc >= 0) rc = put_name(m, m->rows[i], &name, &cap, &n, &names, err);
        if (rc >= 0 && r->o.max_point_notes > 0) rc = put_sound(r, name, (size_t)n, &sounds, err);
    }
    ms_report_put_key(text, "names");
    ms_report_put(text, "[");
    ms_json_put(text, names.data ? names.data : "", names.n);
    ms_report_put(text, "]");
    ms_report_put_key(text, "sounds");
    ms_report_put(text, "[");
    if (r->o.max_point_notes > 0) ms_json_put(text, sounds.data ? sounds.data : "", sounds.n);
    ms_report_put(text, "]");
    if (rc >= 0) rc = ms_json_text_failed(&names, err);
    if (rc >= 0) rc = ms_json_text_failed(&sounds, err);
    ms_json_text_free(&names);
    ms_json_text_free(&sounds);
    ms_free(name);
    return rc;
}

static int put_map(msim_report *r, const mapping *m, ms_json_text *text, msim_error *err) {
    ms_report_put(text, "{\"pieces\":");
    ms_json_put_int(text, m->n_pieces);
    ms_report_put_key(text, "shares");
    if (m->layout)
        ms_report_put(text, "null");
    else {
        ms_report_put(text, "[");
        ms_report_put_real(text, m->shares[0]);
        ms_report_put(text, ",");
        ms_report_put_real(text, m->shares[1]);
        ms_report_put(text, "]");
    }
    put_points(m, text);
    int rc = put_pieces(r, m, text, err);
    ms_report_put(text, "}");
    return rc < 0 ? rc : ms_json_text_failed(text, err);
}

static int add_map(msim_report *r, const msim_corpus *corpus, const float *layout,
                   msim_error *err) {
    mapping m = {.corpus = corpus, .layout = layout};
    ms_json_text text = {0};
    if (r->map.n) return ms_fail(err, MSIM_E_ARG, "report: it has a map already");
    int rc = choose_rows(r, &m, err);
    if (rc >= 0) rc = place_points(r, &m, err);
    if (rc >= 0) rc = put_map(r, &m, &text, err);
    if (rc >= 0) {
        r->map = text;
        r->n_points = m.n;
    } else
        ms_json_text_free(&text);
    ms_free(m.rows);
    ms_free(m.points);
    return rc;
}

int msim_report_add_map(msim_report *r, const msim_corpus *corpus, msim_error *err) {
    return add_map(r, corpus, NULL, err);
}

int msim_report_add_layout(msim_report *r, const msim_corpus *corpus, const float *points,
                           int64_t n_points, msim_error *err) {
    const int64_t rows = msim_corpus_rows(corpus);
    if (n_points != rows)
        return ms_fail(err, MSIM_E_ARG,
                       "layout: expected %lld points, one for each row of the corpus, got %lld",
                       (long long)rows, (long long)n_points);
    for (int64_t i = 0; i < 2 * rows; i++)
        if (!isfinite(points[i]))
            return ms_fail(err, MSIM_E_ARG,
                           "layout: point %lld is nowhere: expected two finite numbers",
                           (long long)(i / 2));
    return add_map(r, corpus, points, err);
}
