/* What the .cu files export: one launcher per kernel, as C. A launcher asserts its preconditions,
 * which are ours to keep, puts the kernel into the stream and returns at once: MSIM_OK, or
 * -MSIM_E_DEVICE when the launch was refused. All pointers are 16-byte aligned device memory unless
 * said otherwise. Nothing is allocated. The result of a row depends on that row alone (for
 * attention and pooling: on its sequence), never on the batch around it. docs/GPU.md.
 *
 * Widths: dim, inner and ff are multiples of 64, dim at most 2,048, heads are 64 wide, inner = 64 *
 * heads. */
#ifndef MS_KERNELS_KERNELS_H
#define MS_KERNELS_KERNELS_H
#include "base/bf16.h"
#include "kernels/device.h"
#include "model/family.h"
#include "search/bound_codes.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- norm_act.cu: rows of the residual stream ---- */

/* x[t] = table[ids[t]]; h[t] = bf16(LN(x[t]) * scale): x f32 [n, dim], table f32 [vocab, dim], h
 * bf16 [n, dim]. */
int ms_embed_norm_cuda(ms_gpu_stream *s, ms_bf16 *h, float *x, const int32_t *ids,
                       const float *table, const float *scale, int64_t n, int64_t dim,
                       msim_error *err);
/* h[t] = bf16(LN(x[t]) * scale), LN as docs/MODEL.md: f32 inside, epsilon 1e-5. */
int ms_norm_bf16_cuda(ms_gpu_stream *s, ms_bf16 *h, const float *x, const float *scale, int64_t n,
                      int64_t dim, msim_error *err);
/* The same, f32 out; out may be x. */
int ms_norm_f32_cuda(ms_gpu_stream *s, float *out, const float *x, const float *scale, int64_t n,
                     int64_t dim, msim_error *err);
/* u[i] = bf16(gelu(u[i])) in place, the erf form: behind a product that could not fuse it. */
int ms_gelu_bf16_cuda(ms_gpu_stream *s, ms_bf16 *u, int64_t n, msim_error *err);
/* Rotate q and k of qkv bf16 [n, 3 * inner] in place: behind a product that could not fuse it. cos,
 * sin f32 [max_tokens, 16], positions [n]: of each token in its sequence. */
int ms_rotate_bf16_cuda(ms_gpu_stream *s, ms_bf16 *qkv, const float *cos, const float *sin,
                        const int32_t *positions, int64_t n, int64_t heads, msim_error *err);

/* ---- gemm_bf16.cu: products with a weight matrix ---- */

enum ms_gpu_epilogue {
    MS_GPU_STORE,  /* dst bf16 = product (+ bias) */
    MS_GPU_ROTATE, /* dst bf16 = product rounded, its first `rotated` columns rotated as
                    * ms_rotate_bf16_cuda does */
    MS_GPU_GELU,   /* dst bf16 = gelu(bf16(product (+ bias))) */
    MS_GPU_ADD     /* dst f32 += product (+ bias) */
};

/* dst [m, n] from a [m, k] and w [n, k] (rows of k, both row-major): a w^T. */
typedef struct {
    const ms_bf16 *a;  /* [m, k] */
    const ms_bf16 *w;  /* [n, k] */
    void *dst;         /* [m, n], bf16 or f32 as the epilogue says */
    const float *bias; /* [n] or NULL */
    const ms_bf16
        *bias_bf16;         /* the same values in bf16, for cuBLASLt behind a bf16 dst, which takes
                               * no f32; NULL: our kernel alone serves, and it does not look here */
    int64_t m, n, k;        /* n and k multiples of 64; m any */
    int epilogue;           /* ms_gpu_epilogue */
    const float *cos, *sin; /* ROTATE: [max_tokens, 16] */
    const int32_t *positions; /* ROTATE: [m] */
    int64_t rotated;          /* ROTATE: columns, a multiple of 64; no bias */
} ms_gpu_gemm;

int ms_gemm_bf16_cuda(ms_gpu_stream *s, const ms_gpu_gemm *g, msim_error *err);
/* The same with one of the kernel's tiles, which all give the same bits: for tests and
 * measurements. */
enum { MS_GPU_GEMM_TILES = 3 };
int ms_gemm_bf16_tile_cuda(ms_gpu_stream *s, const ms_gpu_gemm *g, int tile, msim_error *err);
/* The tile that ms_gemm_bf16_cuda takes for this shape on the stream's device; its name,
 * '256x128'. */
int ms_gemm_bf16_choose(ms_gpu_stream *s, const ms_gpu_gemm *g);
const char *ms_gemm_bf16_tile_name(int tile);

/* ---- attn_bf16.cu ---- */

enum { MS_GPU_QUERY_ROWS = 128 }; /* query rows of one tile */

/* One tile: query rows first .. first + MS_GPU_QUERY_ROWS - 1 of the batch, as far as its sequence
 * reaches. */
typedef struct {
    int32_t first, start, end; /* rows of the batch; the sequence is start .. end - 1 */
} ms_gpu_query_tile;

/* heads[t] = softmax(q k^T / 8) v for each head: heads bf16 [n, inner], qkv bf16 [n, 3 * inner] (q,
 * then k, then v; q and k rotated). tiles [n_tiles] name every row of the batch once. */
int ms_attend_bf16_cuda(ms_gpu_stream *s, ms_bf16 *heads_out, const ms_bf16 *qkv,
                        const ms_gpu_query_tile *tiles, int64_t n_tiles, int64_t heads,
                        msim_error *err);

/* ---- pool_norm.cu ---- */

/* out[i] = weighted mean of rows[starts[i] .. starts[i + 1]) as docs/MODEL.md, Pooling: out f32
 * [n_seq, dim], rows f32 [n, dim], ids [n], starts [n_seq + 1]. classes and class_weights (a float
 * for each class, or NULL: the mean): host memory. scratch: ms_pool_scratch_bytes, device memory.
 * L2 normalising is the host's (msim_l2_normalize). */
size_t ms_pool_scratch_bytes(int64_t n_tokens, int64_t n_seq, int64_t dim);
int ms_pool_cuda(ms_gpu_stream *s, float *out, const float *rows, const int32_t *ids,
                 const int64_t *starts, int64_t n_seq, int64_t n_tokens, int64_t dim,
                 const ms_token_classes *classes, const float *class_weights, void *scratch,
                 msim_error *err);

/* ---- kernels/search: scans of a corpus, scores, the k best (docs/SEARCH.md) ---- */

enum { MS_GPU_SCAN_QUERIES = 64, MS_GPU_MAX_K = MSIM_GPU_MAX_K, MS_GPU_SCAN_TILE = 16 };

/* Rows as they are, in device memory. */
typedef struct {
    const void *data; /* [n_rows] rows, row_bytes apart (a multiple of 16) */
    size_t row_bytes;
    int64_t n_rows, dim;
    int dtype;         /* msim_dtype */
    int64_t first_row; /* number of row 0 in the corpus */
} ms_gpu_rows;

/* What the f32 scan needs of each row, from its square in double (the score's own): values[r] = 1 /
 * |x| (cosine) or |x| (ip); 0 for a row of zeros (square 0) under cosine; -1 for NaN or infinity
 * (upper: -infinity); NaN for rows that are not plain (square outside 2^-60 .. 2^60; always kept).
 * n_nonfinite: one counter, added to. */
int ms_row_values_cuda(ms_gpu_stream *s, float *values, uint32_t *n_nonfinite,
                       const ms_gpu_rows *rows, int is_ip, msim_error *err);

typedef struct {
    int64_t row; /* number in the corpus */
    float upper;
    float pad;
} ms_gpu_candidate;

/* One pass over rows (fewer than 2^32, dim up to 65,536) for n_query queries. Every row that is
 * neither left out nor excluded becomes a candidate. */
typedef struct {
    int scan;                   /* msim_scan: F64 (upper = the score itself, rounded up), F32, BF16,
                             * INT8 */
    int is_ip;                  /* F32 and F64 */
    ms_gpu_rows rows;           /* F64, F32: data; BF16, INT8: n_rows, dim and first_row alone */
    const float *values;        /* F32: ms_row_values_cuda of these rows */
    const unsigned char *tiles; /* BF16, INT8: codes/layout.h's tiles, of which row 0 begins the
                                 * first */
    int64_t n_blocks, block_step; /* the pass reads blocks 0, step, 2 step, .. of MS_GPU_BLOCK_ROWS
                                   * rows: n_blocks of them (the last row of the rows ends the last
                                   * one) */
    const void *queries;          /* as ms_prepare_cuda lays them out for the scan */
    const double *norms;          /* F64: [n_query], sqrt(dot(q, q)) */
    const float *scale, *lambda;  /* INT8: [n_query], of ms_prepare_cuda */
    const float *threshold, *rho_factor; /* BF16 and INT8: [n_query], search/bound_codes.h */
    const float *upper_threshold; /* [n_query]: a row is kept unless upper < upper_threshold; F64:
                             * cast from the threshold */
    float margin;                 /* F32, ip: upper = dot + margin * |x| */
    int n_query;                  /* 1 .. MS_GPU_SCAN_QUERIES */
    const int64_t *excluded;      /* [n_excluded] ascending row numbers, or NULL */
    int64_t n_excluded;
    ms_gpu_candidate *candidates; /* [n_query, candidate_cap], in no order */
    uint32_t *n_candidates;       /* [n_query]: counts those past the cap too, which are dropped */
    int64_t candidate_cap;
} ms_gpu_scan;

enum { MS_GPU_BLOCK_ROWS = 256 };

int ms_scan_cuda(ms_gpu_stream *s, const ms_gpu_scan *scan, msim_error *err);

/* The queries of a scan, made ready for it. All but scan, n_query, dim, queries and centre is
 * written; what a scan does not need may be NULL. */
typedef struct {
    int scan;               /* msim_scan */
    int n_query;            /* 1 .. MS_GPU_SCAN_QUERIES */
    int64_t dim;            /* up to 65,536 */
    const float *queries;   /* [n_query, dim], finite, none of zeros */
    const float *centre;    /* BF16, INT8: [dim], of the codes */
    double *norms;          /* [n_query]: sqrt(dot(q, q)) */
    void *laid_out;         /* ms_scan_queries_bytes, all of them: F64 the queries; F32 divided by
                           * their norms; BF16 and INT8 the weights of search/bound_codes.h */
    ms_bound_codes *bounds; /* BF16, INT8: [n_query], the bits of ms_bound_bf16_narrow_make and
                             * ms_bound_int8_make */
    float *scale, *lambda;  /* INT8: [n_query], copies of those of the bounds */
} ms_gpu_prepare;

int ms_prepare_cuda(ms_gpu_stream *s, const ms_gpu_prepare *prepare, msim_error *err);
size_t ms_scan_queries_bytes(int scan, int64_t n_query, int64_t dim);

/* Constants for the thresholds of now: of query q the larger of `least` and, where there are k
 * results, kth_score[q]. Bits of ms_bound_codes_set_threshold, ms_bound_f32_threshold and
 * ms_bound_f32_threshold_ip. An upper threshold is never -infinity, which is the upper bound of
 * rows with NaN or infinity. */
typedef struct {
    int scan, is_ip, n_query;
    double least, shift;          /* shift: added to the threshold, 0 but in tests */
    int64_t k;                    /* 0: `least` alone counts */
    const double *kth_score;      /* [n_query], of ms_select_cuda ... */
    const uint32_t *n_best;       /* ... with this */
    const ms_bound_codes *bounds; /* BF16, INT8: [n_query] */
    const double *norms;          /* F32 and ip: [n_query] */
    ms_bound_f32 f32;             /* F32 */
    float *threshold, *rho_factor, *upper_threshold; /* out: [n_query]; the first two for BF16 and
                                                      * INT8 */
    uint32_t *n_candidates; /* NULL, or [MS_GPU_SCAN_QUERIES] to be set to 0 */
} ms_gpu_thresholds;

int ms_thresholds_cuda(ms_gpu_stream *s, const ms_gpu_thresholds *thresholds, msim_error *err);

/* Roundings that a bound must charge to a sum of the f32 scan (as if of this many lanes,
 * ms_bound_f32_make), and on the longest way of one of the bf16 scan, tensor cores' own rounding
 * included. */
size_t ms_scan_f32_lanes(void);
size_t ms_scan_bf16_chain(int64_t dim);

/* The score of docs/SEARCH.md, to the bit, of each candidate: scores[q * cap + i]. Candidate (q, i)
 * is row candidates[q * cap + i].row - rows.first_row of `rows`; with `gathered`, the i-th row of
 * query q lies at slot gathered[q] + i of rows.data instead. Queries f32 [n_query, dim], norms
 * [n_query]. */
typedef struct {
    ms_gpu_rows rows;
    const int64_t *gathered; /* NULL, or [n_query] */
    const float *queries;
    const double *norms;
    int n_query, is_ip;
    const ms_gpu_candidate *candidates;
    const uint32_t *n_candidates; /* [n_query]; more than candidate_cap counts as candidate_cap */
    int64_t candidate_cap;
    int64_t n_shared;        /* above 0: candidates is one list of so many for all queries, and
                       * n_candidates is not read */
    const int64_t *excluded; /* [n_excluded] ascending row numbers, or NULL: their scores are
                              * -infinity */
    int64_t n_excluded;
    double *scores; /* [n_query, candidate_cap] */
} ms_gpu_score;

int ms_score_f64_cuda(ms_gpu_stream *s, const ms_gpu_score *score, msim_error *err);

typedef struct {
    double score;
    int64_t row;
} ms_gpu_hit;

/* best[q] = the k best (higher score, then lower row) of best[q] and the scored candidates; a row
 * that occurs twice counts once. kth_score[q] = score of the k-th, or -infinity while there are
 * fewer. */
typedef struct {
    int n_query;
    int64_t k; /* 1 .. MS_GPU_MAX_K */
    const ms_gpu_candidate *candidates;
    const uint32_t *n_candidates;
    const double *scores;
    int64_t candidate_cap; /* at most MS_GPU_MAX_CANDIDATES */
    int64_t n_shared;      /* as in ms_gpu_score */
    ms_gpu_hit *best;      /* [n_query, k], sorted */
    uint32_t *n_best;      /* [n_query] */
    double *kth_score;     /* [n_query] */
} ms_gpu_select;

enum {
    MS_GPU_MAX_CANDIDATES = 3072
}; /* with the best they are sorted in one block's shared
                                        * memory: 4,096 of 16 bytes */

int ms_select_cuda(ms_gpu_stream *s, const ms_gpu_select *select, msim_error *err);

/* ---- join_codes.cu: pairs of rows that the codes of a join leave over ---- */

/* Rows of one side, borrowed device memory: tiles of 16 rows as search/join/kernels.h has them, but
 * for codes that are signed, -127..127. */
typedef struct {
    const signed char *codes; /* [n_tiles] tiles */
    const int32_t *least;     /* [16 n_tiles] */
    int64_t n_tiles;          /* 1 or more */
} ms_gpu_join_rows;

typedef struct {
    ms_gpu_join_rows left, right;
    int64_t components; /* a multiple of 64, at most MS_JOIN_MOST_COMPONENTS */
    int64_t diagonal;   /* a pair is kept only if right index + diagonal > left index, both counted
                       * from the first rows given here; MS_GPU_JOIN_NO_DIAGONAL keeps all */
    int64_t left_first, right_first; /* added to the indices in pairs, which are below 65,536 */
    uint32_t *pairs;                 /* [cap]: left index << 16 | right index, in no order */
    uint32_t *n_pairs; /* added to; counts pairs past the cap too, which are dropped */
    uint32_t cap;
} ms_gpu_join;

enum { MS_GPU_JOIN_NO_DIAGONAL = 1 << 30 };

int ms_join_codes_cuda(ms_gpu_stream *s, const ms_gpu_join *join, msim_error *err);

#ifdef __cplusplus
}
#endif

#endif
