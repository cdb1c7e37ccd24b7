/* Kernels that scan codes of rows (codes/layout.h) against all queries of a search. docs/SEARCH.md,
 * Scans of codes, has the proof.
 *
 * Row r has the constants a, rho, t and y (bf16: a = 1, y = 0). Query q has scale, lambda,
 * threshold and rho_factor. A kernel computes:
 *   sum   = int8: start + sum over j of code[j] * weight[j], exact modulo 2^32
 *           bf16: f32 sums of products
 *   upper = (a * scale) * sum + lambda * y + t * threshold + rho * rho_factor
 *           in f32, at most 9 roundings
 * A row is left out if and only if its upper is below the query's upper threshold.
 * ms_bound_codes_set_threshold makes threshold, rho_factor and the upper threshold.
 *
 * Weights lie in blocks of at most 12 queries, [dim / group, rounded up][queries of the
 * block][group], so a kernel reads the weights of all its queries from one place. Elements past dim
 * are 0. Kernels start no thread, take no memory and keep no state. What a kernel computes for a
 * row depends neither on its tile nor on the other queries. */
#ifndef MS_CPU_SEARCH_CODES_H
#define MS_CPU_SEARCH_CODES_H
#include "codes/layout.h"
#include <string.h>

/* One search's queries. */
typedef struct {
    const void *weights;  /* as above */
    const int32_t *start; /* [n_query]: int8 only */
    const float *scale, *lambda, *threshold,
        *rho_factor; /* [n_query]; bf16 reads these two alone */
    size_t n_query, dim;
} ms_codes_queries;

enum { MS_CODES_SIZES = 5, MS_CODES_SUM_GROUPS = 64 };
/* bf16: roundings on the longest way from a product to the sum. Parts of MS_CODES_SUM_GROUPS pairs
 * are summed apart. */
#define MS_CODES_CHAIN(dim) (2 * MS_CODES_SUM_GROUPS + 1 + (dim) / (2 * MS_CODES_SUM_GROUPS) + 1)

typedef struct {
    const char *name;
    unsigned char sizes[MS_CODES_SIZES]; /* queries that one block of weights may hold, falling,
                                          * ending in 1, then 0s */
    size_t group, weight_bytes;          /* components side by side; bytes of a weight: 1 (s8), 2
                                         * (s16) or 4 (f32) */
    int weight_max; /* int8: the largest weight whose sums are exact, before dim
                                         * limits it */
    /* upper [q * stride + r] for 16 n_tiles rows. */
    void (*scan)(float *upper, size_t stride, const unsigned char *tiles, size_t n_tiles,
                 const ms_codes_queries *q);
} ms_codes_kernels;

/* Bytes that the weights of n_query queries take. */
size_t ms_codes_weights_bytes(const ms_codes_kernels *k, size_t n_query, size_t dim);
/* Put weight [dim] of query q of n_query, s16 (int8 scan) or f32 (bf16), into its places of weights
 * (zeroed before). */
void ms_codes_put_weights(const ms_codes_kernels *k, void *weights, size_t q, size_t n_query,
                          size_t dim, const void *weight);

/* A number of the row in this lane; constants: those of one kind (MS_CODES_INT8_A, ...) of a
 * tile. */
static inline float ms_codes_constant(const unsigned char *constants, size_t lane) {
    float x;
    memcpy(&x, constants + lane * sizeof x, sizeof x);
    return x;
}

#endif
