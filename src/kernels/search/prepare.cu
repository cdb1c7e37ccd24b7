/* The queries of a search, made ready on the device: their norms, what a scan multiplies by, as
 * its kernel reads it, and the constants for a threshold. docs/SEARCH.md, The score, The query's
 * side and The bound.
 *
 * k_prepare<scan>
 * Shapes    queries f32 [n, dim]; codes: the centre f32 [dim]. Out: norms f64 [n]; the queries as
 *           ms_scan_queries_bytes counts them, zeros for the tail of dim and for the queries that
 *           fill up a tile; codes: ms_bound_codes [n], int8: scale, lambda [n].
 * Grid      blocks of one warp, half a warp a query: few and short chains, so they are spread over
 *           as many multiprocessors as there are.
 * Numerics  the norm is the score's own: 16 lanes, fused. The rest is src/search/split.h, lane l
 *           of it in lane l of the half warp, and the same tree: all bits are those of the host's
 *           ms_bound_int8_make and ms_bound_bf16_narrow_make, f64 without fused operations
 *           (--fmad=false), with correctly rounded square roots and divisions. The proof does not
 *           rest on that: whatever g the weights are, what they leave out is measured.
 * Bytes     a query four times (int8) or twice from L1, each centre as often: 2 KiB at width 512.
 *           Bound by the length of the chains, dim / 16 additions in double each. Not measured.
 *
 * k_thresholds
 * Shapes    the K-th scores of up to 64 queries; out: three constants of each. One block, a thread
 *           for each query.
 * Numerics  src/search/bound.h and bound_codes.h, as the host.
 *
 * Both need queries that are finite and not zero. Tests: test/gpu/test_gpu_prepare.c, against the
 * host's functions, equal to the bit. */
#include "kernels/search/common.cuh"
#include "search/split.h"

enum { THREADS = 32, QUERIES = 2, WEIGHT_MAX = 127, MOST_DIM = 65536 };

/* What the launcher counts. */
struct Layout {
    int64_t stride;      /* elements of a query, with the tail of zeros */
    int n_padded, tiles; /* queries with those that fill up a tile; codes: tiles of 8 queries */
    size_t chain;        /* bf16: ms_scan_bf16_chain */
};

/* Where element j of query q lies, counted in elements. Codes are fragments of B: [step][tile of 8
 * queries][lane][2 words]. Lane l has query l / 4 of its tile and, of the step's eight groups, l %
 * 4 and l % 4 + 4: the k of word r, byte (or half) e is group (l % 4 + 4 r), element e. */
template <int SCAN>
static __device__ __forceinline__ int64_t place_of(int64_t q, int64_t j, const Layout &to) {
    const int64_t STEP = scan_codes_step(SCAN), GROUP = STEP / SCAN_CODES_STEP;
    if (SCAN == MSIM_SCAN_F64 || SCAN == MSIM_SCAN_F32) return q * to.stride + j;
    int64_t in_step = j % STEP, group = in_step / GROUP, lane = q % 8 * 4 + group % 4;
    int64_t word = ((j / STEP * to.tiles + q / 8) * 32 + lane) * 2 + group / 4;
    return word * GROUP + in_step % GROUP;
}

/* What a scan has of an element. */
template <int SCAN> struct Element;
template <> struct Element<MSIM_SCAN_F64> { typedef double type; };
template <> struct Element<MSIM_SCAN_F32> { typedef float type; };
template <> struct Element<MSIM_SCAN_BF16> { typedef bf16 type; };
template <> struct Element<MSIM_SCAN_INT8> { typedef signed char type; };

static __device__ __forceinline__ void put(double *to, double x) { *to = x; }
static __device__ __forceinline__ void put(float *to, double x) { *to = (float)x; }
static __device__ __forceinline__ void put(bf16 *to, double x) { *to = to_bf16((float)x); }
static __device__ __forceinline__ void put(signed char *to, double x) { *to = (signed char)(int)x; }

/* The largest value of the half warp, in every lane. */
static __device__ __forceinline__ double most_of_half_warp(double x) {
    for (int bit = 8; bit > 0; bit /= 2) {
        double other = shuffle_xor(x, bit);
        if (other > x) x = other;
    }
    return x;
}

static __device__ __forceinline__ ms_split_sums sum_of_lanes(ms_split_sums x) {
    x.along = sum_half_warp(x.along);
    x.all = sum_half_warp(x.all);
    x.at_centre = sum_half_warp(x.at_centre);
    x.weights = sum_half_warp(x.weights);
    x.sum = sum_half_warp(x.sum);
    return x;
}

/* The split of a query for a scan of codes; every lane of the half warp has it. */
template <int SCAN>
static __device__ __forceinline__ ms_split split_of(const ms_gpu_prepare &a, const float *query,
                                                    double norm, double centre_square, int l) {
    ms_split s = {query, a.centre, (size_t)a.dim, MS_SPLIT_NARROW, div_f64(1.0, norm), 0.0,
                  1.0,   0.0};
    if (SCAN != MSIM_SCAN_INT8) return s;
    s.kind = MS_SPLIT_INT8;
    s.weight_max = WEIGHT_MAX;
    s.lambda = ms_split_lambda(sum_half_warp(ms_split_lane_at_centre(&s, l)), centre_square);
    s.step = ms_split_step(most_of_half_warp(ms_split_lane_most(&s, l)), s.weight_max);
    return s;
}

/* Bounds and constants of a query. */
template <int SCAN>
static __device__ __forceinline__ void put_bounds(const ms_gpu_prepare &a, const ms_split &s,
                                                  size_t chain, double centre_square, int q, int l,
                                                  bool is_here) {
    ms_split_sums sums = sum_of_lanes(ms_split_lane_measure(&s, l));
    double across = sum_half_warp(ms_split_lane_across(&s, l, sums.along));
    if (l != 0 || !is_here) return;
    ms_bound_codes b = ms_split_bounds(&s, &sums, centre_square, across, chain);
    a.bounds[q] = b;
    if (SCAN != MSIM_SCAN_INT8) return;
    a.scale[q] = b.scale, a.lambda[q] = b.lambda;
}

template <int SCAN>
static __global__ void __launch_bounds__(THREADS) k_prepare(ms_gpu_prepare a, Layout to) {
    typedef typename Element<SCAN>::type element;
    int half = (int)threadIdx.x / 16, l = (int)threadIdx.x % 16,
        q = (int)blockIdx.x * QUERIES + half;
    bool is_here = q < a.n_query; /* one that fills up a tile goes along with the last, as zeros */
    const float *query = a.queries + (is_here ? q : a.n_query - 1) * a.dim;
    double norm =
        sqrt_f64(sum_half_warp(square_of<MSIM_DTYPE_F32>((const unsigned char *)query, a.dim, l)));
    if (l == 0 && is_here) a.norms[q] = norm;
    ms_split s = {};
    if (SCAN == MSIM_SCAN_INT8 || SCAN == MSIM_SCAN_BF16) {
        s.centre = a.centre, s.dim = (size_t)a.dim;
        double centre_square = sum_half_warp(ms_split_lane_centre(&s, l));
        s = split_of<SCAN>(a, query, norm, centre_square, l);
        put_bounds<SCAN>(a, s, to.chain, centre_square, q, l, is_here);
    }
    if (q >= to.n_padded) return;
    for (int64_t j = l; j < to.stride; j += 16) {
        double x = 0.0;
        if (is_here && j < a.dim)
            x = SCAN == MSIM_SCAN_F64   ? (double)query[j]
                : SCAN == MSIM_SCAN_F32 ? div_f64(query[j], norm)
                                        : ms_split_weight(&s, (size_t)j);
        put((element *)a.laid_out + place_of<SCAN>(q, j, to), x);
    }
}

/* ---- Thresholds ---- */

static __global__ void __launch_bounds__(MS_GPU_SCAN_QUERIES) k_thresholds(ms_gpu_thresholds a) {
    int q = (int)threadIdx.x;
    if (a.n_candidates) a.n_candidates[q] = 0;
    if (q >= a.n_query) return;
    double threshold = a.least;
    if (a.k > 0 && (int64_t)a.n_best[q] >= a.k && a.kth_score[q] > threshold)
        threshold = a.kth_score[q];
    threshold += a.shift;
    if (a.scan == MSIM_SCAN_INT8 || a.scan == MSIM_SCAN_BF16) {
        ms_bound_threshold t = ms_bound_codes_set_threshold(&a.bounds[q], threshold);
        a.threshold[q] = t.threshold, a.rho_factor[q] = t.rho_factor;
        a.upper_threshold[q] = t.upper_threshold;
        return;
    }
    float upper = a.scan == MSIM_SCAN_F64 ? ms_bound_f32_below(threshold)
                  : a.is_ip               ? ms_bound_f32_threshold_ip(threshold, a.norms[q])
                                          : ms_bound_f32_threshold(&a.f32, threshold);
    /* never -infinity, which is the upper bound of rows with NaN or infinity: the host adds those
     * rows when they are results */
    a.upper_threshold[q] = upper >= -FLT_MAX ? upper : -FLT_MAX;
}

/* ---- Launchers ---- */

extern "C" int ms_prepare_cuda(ms_gpu_stream *s, const ms_gpu_prepare *p, msim_error *err) {
    Layout to = {scan_query_stride(p->scan, p->dim), (int)scan_padded_queries(p->scan, p->n_query),
                 scan_codes_tiles(p->n_query), ms_scan_bf16_chain(p->dim)};
    assert(p->n_query >= 1 && p->n_query <= MS_GPU_SCAN_QUERIES);
    assert(p->dim >= 1 && p->dim <= MOST_DIM); /* int8: sums of 127 127 dim fit 32 bits */
    void (*kernel)(ms_gpu_prepare, Layout) = p->scan == MSIM_SCAN_F64   ? k_prepare<MSIM_SCAN_F64>
                                             : p->scan == MSIM_SCAN_F32 ? k_prepare<MSIM_SCAN_F32>
                                             : p->scan == MSIM_SCAN_BF16
                                                 ? k_prepare<MSIM_SCAN_BF16>
                                                 : k_prepare<MSIM_SCAN_INT8>;
    dim3 grid((unsigned)((to.n_padded + QUERIES - 1) / QUERIES));
    cudaError_t rc =
        launch(kernel, grid, dim3(THREADS), 0, (cudaStream_t)ms_gpu_stream_raw(s), *p, to);
    return ms_gpu_check_launch((int)rc, "k_prepare", err);
}

extern "C" int ms_thresholds_cuda(ms_gpu_stream *s, const ms_gpu_thresholds *t, msim_error *err) {
    assert(t->n_query >= 1 && t->n_query <= MS_GPU_SCAN_QUERIES);
    cudaError_t rc = launch(k_thresholds, dim3(1), dim3(MS_GPU_SCAN_QUERIES), 0,
                            (cudaStream_t)ms_gpu_stream_raw(s), *t);
    return ms_gpu_check_launch((int)rc, "k_thresholds", err);
}
