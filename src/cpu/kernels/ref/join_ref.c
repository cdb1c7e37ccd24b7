/* Kernels of a join in plain C, the reference of every level's. search/join/kernels.h says what is
 * computed. Tests: test/unit/cpu/test_join_kernels.c. */
#include "cpu/kernels/join_project.h"

static int code(const ms_join_rows *rows, size_t components, size_t row, size_t c) {
    size_t tile = row / MS_JOIN_TILE * ms_join_tile_bytes(components),
           group = c / MS_JOIN_GROUP * MS_JOIN_TILE * MS_JOIN_GROUP;
    return rows->codes[tile + group + row % MS_JOIN_TILE * MS_JOIN_GROUP + c % MS_JOIN_GROUP] - 128;
}

static size_t pairs(uint32_t *out, const ms_join_rows *left, const ms_join_rows *right,
                    size_t components, void *scratch) {
    size_t n = 0;
    (void)scratch;
    for (size_t k = 0; k < MS_JOIN_TILE * right->n_tiles; k++)
        for (size_t i = 0; i < MS_JOIN_TILE * left->n_tiles; i++) {
            int32_t sum = 0;
            for (size_t c = 0; c < components; c++)
                sum += code(left, components, i, c) * code(right, components, k, c);
            if (sum >= left->least[i] + right->least[k]) out[n++] = (uint32_t)(i << 16 | k);
        }
    return n;
}

static void project(float *out, const float *rows, const float *map, size_t dim, size_t n_out) {
    project_rows(out, rows, map, dim, n_out, 4);
}

const ms_join_kernels ms_join_ref = {
    .name = "ref", .steps_per_score = 10, .pairs = pairs, .project = project};
