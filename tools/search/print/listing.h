/* The original's printed listing, byte for byte: merging of the matrices that its search gives, its
 * stable order, and Python's spelling of the scores. Depends on the C library alone, so that a test
 * can feed it recorded matrices. docs/SEARCH.md, The original's listing. */
#ifndef MS_TOOLS_SEARCH_LISTING_H
#define MS_TOOLS_SEARCH_LISTING_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int64_t row;
    int transpose;
    float similarity; /* the score is 100 times this, in double */
} ms_listing_entry;

/* Merge rows and sims [n_variants, k] (row -1: a filler, left out) into entries [n_variants * k]:
 * by falling score, equal ones in matrix order, and unless keeps_all the first of each row. Returns
 * how many, or -1 when out of memory. */
int64_t ms_listing_merge(const int64_t *rows, const float *sims, size_t n_variants, size_t k,
                         bool keeps_all, ms_listing_entry *entries);
/* What the original calls the score of an entry. */
double ms_listing_percent(float similarity);

/* A score as the original prints it: rounded to 8 decimals, then Python's repr. buf [32]. */
void ms_listing_score(char *buf, double score);

typedef struct {
    int (*put)(void *arg, const char *bytes, size_t n);           /* 0, or another value to stop */
    const char *(*name)(void *arg, int64_t row, size_t *n_bytes); /* valid until the next call */
    void *arg;
} ms_listing_out;

/* Returns 0, or what put gave when it stopped. */
int ms_listing_print(const ms_listing_out *out, const ms_listing_entry *entries, int64_t n);

#endif
