/* Contract: tools/search/print/listing.h. parity: everything here imitates the original's
 * idxs_sims_to_sorted_list and print_sorted_idxs_sims_list, whose output is recorded
 * (test/unit/tools/test_listing.c, recorded_listings, scores_as_python). */
#include "listing.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* parity: an odd count of variants is labelled as if it were 12, and what is beyond 12 is
 * dropped (test/unit/tools/test_listing.c, merging). */
static int transpose_of(size_t variant, size_t n_variants) {
    if (n_variants == 1) return 0;
    return (int)variant - (n_variants % 2 == 0 ? (int)(n_variants / 2) : 6);
}

typedef struct {
    ms_listing_entry entry;
    int64_t at; /* place in the matrix, later in the list */
    int is_again;
} ranked;

/* NaN, whose order the original leaves to chance, goes last. */
static int by_score(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    float sx = isnan(x->entry.similarity) ? -INFINITY : x->entry.similarity;
    float sy = isnan(y->entry.similarity) ? -INFINITY : y->entry.similarity;
    return sx != sy ? (sx < sy) - (sx > sy) : (x->at > y->at) - (x->at < y->at);
}

static int by_row(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->entry.row != y->entry.row) return x->entry.row < y->entry.row ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

static int by_place(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

int64_t ms_listing_merge(const int64_t *rows, const float *sims, size_t n_variants, size_t k,
                         bool keeps_all, ms_listing_entry *entries) {
    size_t used = n_variants > 1 && n_variants % 2 && n_variants > 12 ? 12 : n_variants, n = 0;
    int64_t n_kept = 0;
    if (used == 0 || k == 0) return 0;
    ranked *list = k <= SIZE_MAX / sizeof *list / used ? malloc(used * k * sizeof *list) : NULL;
    if (!list) return -1;
    for (size_t i = 0; i < used * k; i++) {
        if (rows[i] < 0) continue;
        list[n].entry = (ms_listing_entry){rows[i], transpose_of(i / k, n_variants), sims[i]};
        list[n].is_again = 0;
        list[n++].at = (int64_t)i;
    }
    qsort(list, n, sizeof *list, by_score);
    for (size_t i = 0; i < n; i++) list[i].at = (int64_t)i;
    qsort(list, n, sizeof *list, by_row);
    for (size_t i = 1; i < n; i++) list[i].is_again = list[i].entry.row == list[i - 1].entry.row;
    qsort(list, n, sizeof *list, by_place);
    for (size_t i = 0; i < n; i++)
        if (keeps_all || !list[i].is_again) entries[n_kept++] = list[i].entry;
    free(list);
    return n_kept;
}

double ms_listing_percent(float similarity) { return (double)similarity * 100.0; }

/* Python's repr: the fewest digits that read back as the same double, positional for exponents
 * -4..15. */
static void python_repr(char *buf, double x) {
    char digits[32];
    int precision = 0;
    do snprintf(digits, sizeof digits, "%.*e", precision, x);
    while (strtod(digits, NULL) != x && ++precision < 17);
    int exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent >= -4 && exponent < 16) {
        int decimals = precision - exponent;
        snprintf(buf, 32, "%.*f", decimals > 1 ? decimals : 1, x);
    } else {
        snprintf(buf, 32, "%s", digits);
    }
}

void ms_listing_score(char *buf, double score) {
    char rounded[350]; /* the longest double has 309 digits before the point */
    if (isnan(score) || isinf(score)) {
        snprintf(buf, 32, "%s", isnan(score) ? "nan" : score > 0 ? "inf" : "-inf");
        return;
    }
    snprintf(rounded, sizeof rounded, "%.8f", score);
    python_repr(buf, strtod(rounded, NULL));
}

int ms_listing_print(const ms_listing_out *out, const ms_listing_entry *entries, int64_t n) {
    static const char bar[] =
        "======================================================================\n";
    char text[128], score[32];
    size_t n_name;
    int rc = out->put(out->arg, bar, sizeof bar - 1);
    if (!rc) rc = out->put(out->arg, "Search results:\n", 16);
    if (!rc) rc = out->put(out->arg, bar, sizeof bar - 1);
    for (int64_t i = 0; i < n && !rc; i++) {
        const char *name = out->name(out->arg, entries[i].row, &n_name);
        int len = snprintf(text, sizeof text, "#%03lld ", (long long)i);
        rc = out->put(out->arg, text, (size_t)len);
        if (!rc) rc = out->put(out->arg, name, n_name);
        ms_listing_score(score, ms_listing_percent(entries[i].similarity));
        len = snprintf(text, sizeof text, " --- %d --- %s\n", entries[i].transpose, score);
        if (!rc) rc = out->put(out->arg, text, (size_t)len);
    }
    if (!rc) rc = out->put(out->arg, bar, sizeof bar - 1);
    int len = snprintf(text, sizeof text, "Total number of records: %lld\n", (long long)n);
    if (!rc) rc = out->put(out->arg, text, (size_t)len);
    if (!rc) rc = out->put(out->arg, bar, sizeof bar - 1);
    return rc;
}
