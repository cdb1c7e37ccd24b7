/* What altered copies of pieces differ in from them: the nuisance of a whitening's fit. Contract:
 * corpus/fits/whiten.h; docs/WHITENING.md. */
#include "base/mem.h"
#include "corpus/fits/whiten.h"
#include <string.h>

typedef struct {
    const msim_corpus *corpus, *altered;
    msim_name_set *names;
    char *name;      /* owned: [cap] */
    float *row, *of; /* owned: [dim] each: a row, and it at length 1 */
    float *piece;    /* owned: [dim]: the row of the piece at length 1 */
    double *apart;   /* owned: [dim] */
    size_t cap, dim;
} altered_rows;

/* The name of a row of the altered copies, in r->name. Returns its length. */
static int64_t read_name(altered_rows *r, int64_t row, msim_error *err) {
    int64_t n = msim_corpus_name(r->altered, row, r->name, r->cap);
    if (n >= 0 && (size_t)n >= r->cap) {
        ms_free(r->name);
        r->cap = (size_t)n + 1;
        r->name = ms_alloc(r->cap, 1, "name", err);
        if (!r->name) return -MSIM_E_MEMORY;
        n = msim_corpus_name(r->altered, row, r->name, r->cap);
    }
    return n < 0 ? ms_fail(err, (int)-n, "whitening: row %lld has no name", (long long)row) : n;
}

static int find_pieces(altered_rows *r, msim_error *err) {
    int64_t rc = msim_name_set_open(&r->names, err);
    for (int64_t i = 0; i < msim_corpus_rows(r->altered) && rc >= 0; i++) {
        rc = read_name(r, i, err);
        if (rc >= 0) rc = msim_name_set_add(r->names, r->name, (size_t)rc, err);
    }
    return rc < 0 ? (int)rc : msim_name_set_scan(r->names, r->corpus, NULL, NULL, err);
}

/* One row at length 1. 1; 0: it has none. */
static int read_unit(altered_rows *r, const msim_corpus *corpus, int64_t row, float *unit,
                     msim_error *err) {
    int rc = msim_corpus_vector(corpus, row, r->row, err);
    return rc < 0 ? rc : ms_whiten_unit(unit, r->row, r->dim) == MS_WHITEN_PLAIN;
}

static int add_row(altered_rows *r, int64_t row, ms_whiten_stats *stats, msim_error *err) {
    const int64_t *pieces;
    int64_t n = read_name(r, row, err);
    if (n < 0) return (int)n;
    int64_t number = msim_name_set_find(r->names, r->name, (size_t)n);
    if (msim_name_set_rows(r->names, number, &pieces) < 1) return MSIM_OK;
    int rc = read_unit(r, r->corpus, pieces[0], r->piece, err);
    if (rc > 0) rc = read_unit(r, r->altered, row, r->of, err);
    if (rc < 1) return rc;
    double *to = stats->nuisance;
    for (size_t i = 0; i < r->dim; i++) r->apart[i] = (double)r->of[i] - (double)r->piece[i];
    for (size_t i = 0; i < r->dim; i++)
        for (size_t j = 0; j <= i; j++) *to++ += r->apart[i] * r->apart[j];
    stats->altered++;
    return MSIM_OK;
}

static int reserve(altered_rows *r, msim_error *err) {
    r->cap = 256; /* grows with the names */
    r->name = ms_alloc(r->cap, 1, "name", err);
    if (r->name) r->row = ms_alloc(3 * r->dim, sizeof *r->row, "whitening", err);
    if (r->row) r->apart = ms_alloc(r->dim, sizeof *r->apart, "whitening", err);
    if (!r->apart) return -MSIM_E_MEMORY;
    r->of = r->row + r->dim;
    r->piece = r->of + r->dim;
    return MSIM_OK;
}

static int add_rows(altered_rows *r, ms_whiten_stats *stats, msim_error *err) {
    int rc = reserve(r, err);
    if (rc >= 0) rc = ms_whiten_nuisance_open(stats, err);
    if (rc >= 0) rc = find_pieces(r, err);
    for (int64_t i = 0; i < msim_corpus_rows(r->altered) && rc >= 0; i++)
        rc = add_row(r, i, stats, err);
    if (rc >= 0 && stats->altered == 0)
        rc = ms_fail(err, MSIM_E_EMPTY,
                     "whitening: %s: no row has the name of a row of %s, whose altered copies it "
                     "should hold",
                     msim_corpus_part_path(r->altered, 0), msim_corpus_part_path(r->corpus, 0));
    for (size_t i = 0; rc >= 0 && i < ms_whiten_triangle(r->dim); i++)
        stats->nuisance[i] /= 2.0 * (double)stats->altered;
    return rc;
}

int ms_corpus_add_altered(const msim_corpus *corpus, const msim_corpus *altered,
                          ms_whiten_stats *stats, msim_error *err) {
    msim_corpus_info info = {.size = sizeof info};
    altered_rows r = {.corpus = corpus, .altered = altered, .dim = (size_t)stats->dim};
    int rc = msim_corpus_get_info(altered, &info);
    if (rc >= 0 && info.dim != stats->dim)
        rc = ms_fail(err, MSIM_E_ARG, "whitening: expected altered copies of width %lld, got %lld",
                     (long long)stats->dim, (long long)info.dim);
    if (rc >= 0) rc = add_rows(&r, stats, err);
    if (rc >= 0) rc = msim_corpus_check(altered, err);
    msim_name_set_close(r.names);
    ms_free(r.name);
    ms_free(r.row);
    ms_free(r.apart);
    return rc;
}
