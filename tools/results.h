/* Matches of one query: merging its variants, and printing them as table, TSV, JSON or the original's listing. Values
 * only; printing goes to standard output through tools/cli.h. docs/SEARCH.md. */
#ifndef MS_TOOLS_RESULTS_H
#define MS_TOOLS_RESULTS_H
#include "cli.h"

typedef struct {
    int64_t row;
    double score;  /* cosine; -infinity for a row with NaN or infinity */
    int transpose; /* semitones of the variant that scored best */
} ms_results_match;

/* Merge the hits of n_variants variants, each the n best rows (rows and scores [n_variants, stride]); variant v is
 * moved by first_transpose + v. Of each row the best variant counts (equal: the lower one); matches are in rank order:
 * higher score, then lower row. matches has room for n_variants * n; returns how many of them are the answer, at
 * most k. */
int64_t ms_results_merge(const int64_t *rows, const double *scores, size_t n_variants, int64_t n, int64_t stride,
                         int first_transpose, int64_t k, ms_results_match *matches);

enum ms_results_format { MS_RESULTS_TABLE, MS_RESULTS_TSV, MS_RESULTS_JSON, MS_RESULTS_MIDISIM };

typedef struct {
    const msim_corpus *corpus; /* borrowed */
    int format;                /* ms_results_format */
    int columns;               /* of the table; 0: as wide as it gets */
    bool has_color;
    char *name;                /* owned: scratch, the name in hand */
    size_t name_cap;
    int64_t n_printed;         /* queries so far */
    int64_t n_nonfinite;       /* rows of the corpus with NaN or infinity */
} ms_results_out;

/* What comes before the first query (the TSV's header). All return 0, or -1 when nothing more can be written. */
int ms_results_begin(ms_results_out *out);
/* One query in table, TSV or JSON form. */
int ms_results_print(ms_results_out *out, const char *query, size_t n_variants, const ms_results_match *matches,
                     int64_t n);
/* One query in the original's form, from its variants' hits as for merge. */
int ms_results_print_midisim(ms_results_out *out, const int64_t *rows, const double *scores, size_t n_variants,
                             int64_t n, int64_t stride);
void ms_results_free(ms_results_out *out);

/* Terminal columns that a text takes (what is not printable or not UTF-8 counts as the '?' it is shown as). */
size_t ms_results_width(const char *text, size_t n);
/* Write text to out [4 * n + 8], safe for a terminal and cut in the middle to at most `columns` columns (at least 1);
 * returns its bytes. */
size_t ms_results_fit(const char *text, size_t n, size_t columns, char *out);

#endif
