/* What a score means in a whitened corpus: how likely unrelated pieces are to score as high, and a
 * word for that. include/midisim.h, Searcher; docs/WHITENING.md, Scores with a meaning. */
#include "base/sized.h"
#include "query/searcher.h"
#include <math.h>

/* Where the words begin. Provisional: chosen from a trial in which 5 % of the right pairs scored
 * below 0.084, half of them below 0.196, and 0.1 % of unrelated pairs above 0.199; to be measured
 * on larger corpora. Matches are those that chance gives in the whole corpus. */
#define ALIKE_MOST_MATCHES 1.0
#define VERSION_MOST_MATCHES 0.01
#define SAME_LEAST_SCORE 0.85

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

int msim_searcher_explain(const msim_searcher *s, double score, int64_t n_vectors,
                          msim_meaning *out) {
    double p = s->whitening ? msim_whitening_p(s->whitening, score) : -1.0;
    msim_meaning meaning = {.size = sizeof meaning, .p = -1.0, .matches = -1.0};
    if (n_vectors < 1) return -MSIM_E_ARG;
    if (p >= 0.0 && s->n_pieces > 0) {
        meaning.p = chance_of_piece(s, p, n_vectors);
        meaning.matches = meaning.p * (double)s->n_pieces;
        meaning.likeness = word_of(score, meaning.matches);
    }
    return ms_sized_out(out, &meaning, sizeof meaning);
}
