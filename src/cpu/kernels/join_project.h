/* The map of a join, for every level: each file compiles its own copy, and the compiler makes what
 * registers the level has of a vector of 16 floats. */
#ifndef MS_CPU_KERNELS_JOIN_PROJECT_H
#define MS_CPU_KERNELS_JOIN_PROJECT_H
#include "cpu/kernels/unroll.h"
#include "search/join/kernels.h"

typedef float join_vector __attribute__((vector_size(64), may_alias));

/* n_rows at a time: as many as the registers of the level hold. */
INLINE void project_rows(float *out, const float *rows, const float *map, size_t dim, size_t n_out,
                         const size_t n_rows) {
    enum { LANES = sizeof(join_vector) / sizeof(float) };
    for (size_t r = 0; r < MS_JOIN_PROJECTED; r += n_rows)
        for (size_t c = 0; c < n_out; c += LANES) {
            join_vector sum[MS_JOIN_PROJECTED] = {{0}};
            const float *at = rows + r * dim;
            for (size_t j = 0; j < dim; j++) {
                join_vector m = *(const join_vector *)(const void *)(map + j * n_out + c);
                UNROLL
                for (size_t i = 0; i < n_rows; i++) sum[i] += at[i * dim + j] * m;
            }
            for (size_t i = 0; i < n_rows; i++)
                for (size_t l = 0; l < LANES; l++) out[(r + i) * n_out + c + l] = sum[i][l];
        }
}

#endif
