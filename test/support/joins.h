/* Joins in tests: rows made to break them, and the pairs that a join gives. */
#ifndef TEST_SUPPORT_JOINS_H
#define TEST_SUPPORT_JOINS_H
#include "base/mem.h"
#include "search/join/hits.h"
#include "support/random.h"
#include "support/test.h"
#include <math.h>
#include <string.h>

/* Rows that are alike or not, copies, copies of another length, zeros, NaN, infinity, tiny, huge,
 * spikes. */
static inline void make_join_rows(float *rows, size_t n, size_t dim, uint64_t seed) {
    uint64_t of_base = 99;
    float *base = ms_alloc(dim, sizeof *base, "test", NULL);
    assert_non_null(base);
    for (size_t j = 0; j < dim; j++) base[j] = uniform(&of_base);
    for (size_t i = 0; i < n; i++) {
        float *x = rows + i * dim, amount = i % 3 ? 0.3f : 3.0f;
        for (size_t j = 0; j < dim; j++) x[j] = base[j] + amount * uniform(&seed);
        size_t other = i ? splitmix(&seed) % i : 0;
        switch (i % 23) {
        case 5: memcpy(x, rows + other * dim, dim * sizeof *x); break;
        case 6:
            for (size_t j = 0; j < dim; j++) x[j] = -4 * rows[other * dim + j];
            break;
        case 7:
            for (size_t j = 0; j < dim; j++) x[j] = i % 2 ? 0.0f : -0.0f;
            break;
        case 8: x[i % dim] = i % 2 ? NAN : INFINITY; break;
        case 9:
            for (size_t j = 0; j < dim; j++) x[j] *= 1e-42f;
            break;
        case 10:
            for (size_t j = 0; j < dim; j++) x[j] *= 1e37f;
            break;
        case 11: x[i % dim] *= 1e6f; break;
        default: break;
        }
    }
    ms_free(base);
}

/* The sink of a join: all pairs in the order in which they come. */
typedef struct {
    ms_join_hit *hits;   /* owned */
    size_t n, cap, most; /* most: the sink ends the join there; 0: never */
} join_list;

static inline int take_hit(void *user, int64_t a, int64_t b, double score) {
    join_list *l = user;
    assert_int_equal(ms_grow((void **)&l->hits, &l->cap, l->n + 1, sizeof *l->hits, "hits", NULL),
                     0);
    l->hits[l->n++] = (ms_join_hit){a, b, score};
    return l->n == l->most;
}

static inline void clear_hits(join_list *l) {
    ms_free(l->hits);
    *l = (join_list){0};
}

#endif
