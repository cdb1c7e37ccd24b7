/* What a score means in a whitened corpus: how likely unrelated pieces are to score as high, and a
 * word for that. include/midisim.h, Searcher; docs/WHITENING.md, Scores with a meaning. */
#include "base/mem.h"
#include "base/sized.h"
#include "query/searcher.h"
#include <math.h>
#include <string.h>

/* Where the words begin: docs/WHITENING.md, Measured words. Matches are those that chance gives in
 * the whole corpus. */
#define ALIKE_MOST_MATCHES 0.02
#define VERSION_MOST_MATCHES 0.001
#define SAME_LEAST_SCORE 0.85

/* ---- z ---- */

int ms_searcher_open_meaning(msim_searcher *s, msim_error *err) {
    if (!s->whitening || !s->whitening->background.pairs || s->n_pieces < MS_LEVEL_LEAST)
        return MSIM_OK;
    int rc = ms_cohort_open(s->corpus, s->whitening, NULL, &s->cohort, err);
    if (rc < 0) return rc;
    if (s->cohort.n < MS_LEVEL_LEAST) {
        ms_cohort_close(&s->cohort);
        return MSIM_OK;
    }
    s->cohort_scores = ms_alloc(s->cohort.n, sizeof *s->cohort_scores, "cohort", err);
    return s->cohort_scores ? MSIM_OK : -MSIM_E_MEMORY;
}

void ms_searcher_close_meaning(msim_searcher *s) {
    ms_cohort_close(&s->cohort);
    ms_free(s->cohort_scores);
    ms_free(s->levels);
    ms_free(s->z);
}

/* The vector of the query that gave match i: its key and, if it is cut, its window. */
static size_t vector_of(const msim_searcher *s, const ms_query *q, int64_t i) {
    size_t key = 0, window = q->spans ? (size_t)s->match_spans[i].piece : 0;
    while (key + 1 < q->n_variants && q->keys[key] != s->matches[i].transpose) key++;
    return key * q->n_windows + window;
}

/* z of match i. Its own piece does not count as others that score high, if it is in the cohort. */
static int find_one(const msim_searcher *s, const ms_query *q, int64_t i, double *z,
                    msim_error *err) {
    size_t vector = vector_of(s, q, i);
    const float *numbers = s->vectors + (q->first + vector) * (size_t)s->dim;
    const msim_match *match = s->matches + i;
    ms_level *level = s->levels + vector;
    int64_t piece = msim_corpus_piece_of(s->corpus, match->row, err);
    if (piece < 0) return (int)piece;
    if (level->n == 0) {
        ms_cohort_scores(&s->cohort, numbers, s->cohort_scores);
        *level = ms_level_of(s->cohort_scores, s->cohort.n);
    }
    *z = ms_level_z(level, match->score, ms_cohort_score_of(&s->cohort, piece, numbers));
    return MSIM_OK;
}

int ms_searcher_find_z(msim_searcher *s, const ms_query *q, int64_t n, msim_error *err) {
    size_t n_vectors = ms_query_vectors(q);
    if (!s->cohort.n) return MSIM_OK;
    int rc =
        ms_grow((void **)&s->levels, &s->levels_cap, n_vectors, sizeof *s->levels, "matches", err);
    if (rc >= 0)
        rc = ms_grow((void **)&s->z, &s->z_cap, (size_t)n + 1, sizeof *s->z, "matches", err);
    if (rc >= 0) memset(s->levels, 0, n_vectors * sizeof *s->levels);
    for (int64_t i = 0; i < n && rc >= 0; i++) rc = find_one(s, q, i, s->z + i, err);
    return rc;
}

/* ---- Chances and words ---- */

static int word_of(double score, double matches) {
    if (!(matches <= ALIKE_MOST_MATCHES)) return MSIM_LIKENESS_UNRELATED;
    if (score >= SAME_LEAST_SCORE) return MSIM_LIKENESS_SAME;
    return matches <= VERSION_MOST_MATCHES ? MSIM_LIKENESS_VERSION : MSIM_LIKENESS_ALIKE;
}

/* An unrelated piece has as many tries as it has rows, on average, with each vector of the query.
 * They are taken to be independent, which overstates the chance: keys and windows of one piece are
 * alike. */
static double chance_of_piece(const msim_searcher *s, double p_row, int64_t n_vectors) {
    double tries = (double)s->n_rows / (double)s->n_pieces * (double)n_vectors;
    return p_row >= 1.0 ? 1.0 : -expm1(tries * log1p(-p_row));
}

int msim_searcher_has_meaning(const msim_searcher *s) { return s->cohort.n > 0; }

int msim_searcher_explain(const msim_searcher *s, const msim_answer *answer, int64_t match,
                          msim_meaning *out) {
    msim_meaning meaning = {.size = sizeof meaning, .p = -1.0, .matches = -1.0};
    if (match < 0 || match >= answer->n_matches || answer->n_vectors < 1) return -MSIM_E_ARG;
    if (answer->z && s->cohort.n) {
        double p = ms_background_p(&s->whitening->background, answer->z[match]);
        meaning.p = chance_of_piece(s, p, answer->n_vectors);
        meaning.matches = meaning.p * (double)s->n_pieces;
        meaning.likeness = word_of(answer->matches[match].score, meaning.matches);
    }
    return ms_sized_out(out, &meaning, sizeof meaning);
}
