/* The pass over a corpus: preconditions, which scan runs, and how large its queries are. The
 * kernels are in kernels/search/scan_codes.cu (int8 and bf16 codes), kernels/search/scan_f32.cu and
 * kernels/search/score.cu (rows as they are). Holds no state. */
#include "kernels/search/common.cuh"

extern "C" size_t ms_scan_queries_bytes(int scan, int64_t n_query, int64_t dim) {
    assert(n_query >= 1 && n_query <= MS_GPU_SCAN_QUERIES && dim >= 1);
    size_t element = scan == MSIM_SCAN_F64    ? sizeof(double)
                     : scan == MSIM_SCAN_F32  ? sizeof(float)
                     : scan == MSIM_SCAN_BF16 ? sizeof(ms_bf16)
                                              : 1;
    return (size_t)(scan_padded_queries(scan, n_query) * scan_query_stride(scan, dim)) * element;
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
