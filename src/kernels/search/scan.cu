/* The pass over a corpus: preconditions, which scan runs, and how the host lays queries out for it.
 * The kernels are in kernels/search/scan_codes.cu (int8 and bf16 codes),
 * kernels/search/scan_f32.cu and kernels/search/score.cu (rows as they are). Holds no state. */
#include "kernels/search/common.cuh"

static int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/* Components that a matrix operation of the scan takes: 32 codes or 16 bf16 values. */
static int64_t codes_step(int scan) { return scan == MSIM_SCAN_INT8 ? 32 : 16; }

extern "C" size_t ms_scan_queries_bytes(int scan, int64_t n_query, int64_t dim) {
    assert(n_query >= 1 && n_query <= MS_GPU_SCAN_QUERIES && dim >= 1);
    if (scan == MSIM_SCAN_F64)
        return (size_t)(round_up(n_query, SCAN_F64_TILE) * round_up(dim, 16)) * sizeof(double);
    if (scan == MSIM_SCAN_F32) {
        int64_t tile = scan_f32_tile(n_query);
        return (size_t)(round_up(n_query, tile) * round_up(dim, SCAN_F32_STEP)) * sizeof(float);
    }
    assert(scan == MSIM_SCAN_INT8 || scan == MSIM_SCAN_BF16);
    int64_t steps = round_up(dim, codes_step(scan)) / codes_step(scan);
    return (size_t)(steps * scan_codes_tiles(n_query)) * 32 * 8;
}

/* Fragments of B: [step][tile of 8 queries][lane][2 words]. Lane l has query l / 4 of its tile and,
 * of the step's eight groups, l % 4 and l % 4 + 4: the k of word r, byte (or half) e is group (l %
 * 4 + 4 r), element e. */
static void put_fragments(int scan, unsigned char *dst, int64_t q, int64_t n_query, int64_t dim,
                          const void *query) {
    int64_t step = codes_step(scan), group = step / SCAN_CODES_STEP,
            tiles = scan_codes_tiles(n_query);
    for (int64_t j = 0; j < dim; j++) {
        int64_t in_step = j % step, g = in_step / group, e = in_step % group,
                lane = q % 8 * 4 + g % 4;
        size_t word = (size_t)(((j / step * tiles + q / 8) * 32 + lane) * 2 + g / 4);
        if (scan == MSIM_SCAN_INT8) {
            int16_t weight = ((const int16_t *)query)[j];
            assert(weight >= -127 && weight <= 127);
            dst[word * 4 + (size_t)e] = (unsigned char)(signed char)weight;
        } else {
            ms_bf16 x = ms_bf16_of_f32(((const float *)query)[j]);
            memcpy(dst + word * 4 + (size_t)e * 2, &x, sizeof x);
        }
    }
}

extern "C" void ms_scan_queries_put(int scan, void *queries, int64_t q, int64_t n_query,
                                    int64_t dim, const void *query) {
    assert(q >= 0 && q < n_query && n_query <= MS_GPU_SCAN_QUERIES);
    if (scan == MSIM_SCAN_F64) {
        double *to = (double *)queries + q * round_up(dim, 16);
        for (int64_t j = 0; j < dim; j++) to[j] = ((const float *)query)[j];
    } else if (scan == MSIM_SCAN_F32) {
        memcpy((float *)queries + q * round_up(dim, SCAN_F32_STEP), query,
               (size_t)dim * sizeof(float));
    } else {
        put_fragments(scan, (unsigned char *)queries, q, n_query, dim, query);
    }
}

extern "C" int ms_scan_cuda(ms_gpu_stream *s, const ms_gpu_scan *scan, msim_error *err) {
    int64_t rows = scan->rows.n_rows, blocks = (rows + MS_GPU_BLOCK_ROWS - 1) / MS_GPU_BLOCK_ROWS;
    assert(scan->n_query >= 1 && scan->n_query <= MS_GPU_SCAN_QUERIES && scan->rows.dim >= 1);
    assert(rows >= 0 && rows <= (int64_t)UINT32_MAX); /* a counter holds all rows of a pass */
    assert(scan->block_step >= 1 && scan->n_blocks >= 0 && scan->candidate_cap >= 0);
    assert(scan->n_blocks == 0 || (scan->n_blocks - 1) * scan->block_step < blocks);
    (void)blocks;
    if (scan->n_blocks == 0) return MSIM_OK;
    if (scan->scan == MSIM_SCAN_F64) return ms_scan_f64_cuda(s, scan, err);
    if (scan->scan == MSIM_SCAN_F32) return ms_scan_f32_cuda(s, scan, err);
    assert(scan->scan == MSIM_SCAN_INT8 || scan->scan == MSIM_SCAN_BF16);
    return ms_scan_codes_cuda(s, scan, err);
}
