/* A piece in its keys: turns the hits of a query's variants into its matches. It allocates nothing.
 * include/midisim.h, Searcher; docs/SEARCH.md, Keys of a query. */
#ifndef MS_SEARCH_VARIANTS_H
#define MS_SEARCH_VARIANTS_H
#include "base/status.h"
#include <stdbool.h>

/* Semitones of a variant: the first of n is moved by -n / 2. */
static inline int ms_variants_semitones(size_t variant, size_t n) {
    return (int)variant - (int)(n / 2);
}

/* A match of a whole piece. */
msim_match ms_variants_match(int64_t row, double score, int transpose);
/* Put a query's matches in rank order: higher score, then lower row, then lower transposition.
 * Unless keeps_all, of each row only the best stays. Returns how many there are now. */
int64_t ms_variants_rank(msim_match *matches, int64_t n, bool keeps_all);
/* A match, the piece that its row belongs to, and the window of the query that matches. */
typedef struct {
    int64_t piece, window;
    msim_match match;
} ms_piece_match;

/* The same for pieces of several rows: of each piece, or with keeps_keys of each piece and
 * transposition, only the best stays (equal matches: the lower window). */
int64_t ms_variants_rank_pieces(ms_piece_match *matches, int64_t n, bool keeps_keys);
/* True when `a` comes before `b` in rank order, or has the same place. */
bool ms_variants_is_before(const msim_match *a, const msim_match *b);
/* Rows to fetch of each vector so that `extra` of them may be dropped afterwards; where pieces have
 * several rows, so many that k pieces are likely among them. */
int64_t ms_variants_fetched(int64_t n_rows, int64_t n_pieces, int64_t k, int64_t extra);
/* Take rows that are in `own` (rising) out of a variant's n hits; the rest moves up. Returns how
 * many are left. */
int64_t ms_variants_drop(const int64_t *own, size_t n_own, int64_t *rows, double *scores,
                         int64_t n);

/* Lists of rows: put them in rising order, each once; and look one up in such a list. */
void ms_variants_sort_rows(int64_t *rows, size_t *n);
bool ms_variants_has_row(const int64_t *rows, size_t n, int64_t row);

#endif
