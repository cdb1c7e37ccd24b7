/* How cuBLASLt is opened, asked and tried (src/kernels/encoder/blaslt.c,
 * kernels/encoder/project.c), with a library of our own behind its interface: it keeps account of
 * what it is told, multiplies by the column-major rules on the host, and misbehaves on request.
 * What the true library computes only a GPU can show (test_gemm.c). Needs cublasLt.h. */
#include "support/levels.h"
#include "base/bf16.h"
#include "kernels/encoder/project.h"
#include <math.h>

#if !__has_include(<cublasLt.h>)
int main(void) {
    printf("test_blaslt: skipped (built without cublasLt.h)\n");
    return 0; /* gpu-check calls a program without tests an error */
}
#else
#include <dlfcn.h>

static void *fake_open(const char *name, int flags);
static void *fake_symbol(void *library, const char *name);
static int fake_close(void *library);
#define dlopen fake_open
#define dlsym fake_symbol
#define dlclose fake_close
#include "kernels/encoder/blaslt.c"
static double fake_seconds(const ms_gpu_event *from, const ms_gpu_event *to);
#define ms_gpu_event_seconds fake_seconds
#include "kernels/encoder/trial.c"

/* ---- The library ---- */

enum fault {
    NONE,
    MISSING,
    OLDER,
    FUNCTION_MISSING,
    NO_START,
    ALL_SPLIT,
    NO_BIAS,
    ROWS_REFUSED,
    VALUE_WRONG,
    ROWS_MATTER,
    LONG_MATTERS, /* bits of a row change where there are more than 4,000 */
    FIRST_SLOW,   /* of two that serve alike */
    FAST_ODD,     /* the same, and the bits of the fast one depend on how many rows there are */
    SECOND_APART  /* the second serves, with bits of its own */
};

static ms_gpu_stream *stream;
static enum fault fault;
static int n_live, n_products; /* objects not yet destroyed; products carried out */
static int last_algorithm;     /* that of the last of them */

typedef struct {
    cudaDataType_t type;
    uint64_t rows, cols;
    int64_t stride;
} fake_layout;

typedef struct {
    cublasOperation_t transposed;
    cublasLtEpilogue_t epilogue;
    cudaDataType_t bias_type;
    const void *bias;
} fake_product;

/* Not ms_alloc's memory: that fails on request. */
static void *new_bytes(size_t n) {
    void *p = calloc(1, n);
    assert_non_null(p);
    return p;
}

static void *new_object(size_t n_bytes) {
    n_live++;
    return new_bytes(n_bytes);
}

static cublasStatus_t end_object(void *p) {
    n_live--;
    free(p);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t fake_Create(cublasLtHandle_t *handle) {
    if (fault == NO_START) return CUBLAS_STATUS_NOT_INITIALIZED;
    *handle = new_object(8);
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t fake_Destroy(cublasLtHandle_t handle) { return end_object(handle); }
static size_t fake_GetVersion(void) {
    return fault == OLDER ? (CUBLAS_VER_MAJOR - 1) * 10000 + 800 : CUBLAS_VERSION;
}
static const char *fake_GetStatusName(cublasStatus_t rc) {
    return rc == CUBLAS_STATUS_NOT_SUPPORTED ? "no support" : "a failure";
}

static cublasStatus_t fake_MatmulDescCreate(cublasLtMatmulDesc_t *out, cublasComputeType_t compute,
                                            cudaDataType_t scale) {
    assert_true(compute == CUBLAS_COMPUTE_32F && scale == CUDA_R_32F);
    fake_product *p = new_object(sizeof *p);
    *p = (fake_product){.transposed = CUBLAS_OP_N,
                        .epilogue = CUBLASLT_EPILOGUE_DEFAULT,
                        .bias_type = (cudaDataType_t)-1};
    *out = (void *)p;
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t fake_MatmulDescDestroy(cublasLtMatmulDesc_t p) { return end_object(p); }
static cublasStatus_t fake_MatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                                  cublasLtMatmulDescAttributes_t what,
                                                  const void *value, size_t n_bytes) {
    fake_product *p = (void *)desc;
    void *to = what == CUBLASLT_MATMUL_DESC_TRANSA           ? (void *)&p->transposed
               : what == CUBLASLT_MATMUL_DESC_EPILOGUE       ? (void *)&p->epilogue
               : what == CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE ? (void *)&p->bias_type
                                                             : (void *)&p->bias;
    assert_true(to != (void *)&p->bias || what == CUBLASLT_MATMUL_DESC_BIAS_POINTER);
    assert_int_equal(n_bytes, to == (void *)&p->bias ? 8 : 4);
    memcpy(to, value, n_bytes);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t fake_MatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType_t type,
                                              uint64_t rows, uint64_t cols, int64_t stride) {
    fake_layout *l = new_object(sizeof *l);
    *l = (fake_layout){type, rows, cols, stride};
    *out = (void *)l;
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t fake_MatrixLayoutDestroy(cublasLtMatrixLayout_t l) { return end_object(l); }
static cublasStatus_t fake_MatrixLayoutSetAttribute(cublasLtMatrixLayout_t l,
                                                    cublasLtMatrixLayoutAttribute_t what,
                                                    const void *value, size_t n_bytes) {
    assert_true(what == CUBLASLT_MATRIX_LAYOUT_COLS && n_bytes == 8);
    memcpy(&((fake_layout *)(void *)l)->cols, value, n_bytes);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t fake_MatmulPreferenceCreate(cublasLtMatmulPreference_t *out) {
    *out = new_object(8);
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t fake_MatmulPreferenceDestroy(cublasLtMatmulPreference_t p) {
    return end_object(p);
}
static cublasStatus_t fake_MatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                        cublasLtMatmulPreferenceAttributes_t what,
                                                        const void *value, size_t n_bytes) {
    uint32_t x;
    (void)p;
    assert_int_equal(n_bytes, what == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? 8 : 4);
    memcpy(&x, value, sizeof x);
    if (what == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK)
        assert_int_equal(x, CUBLASLT_REDUCTION_SCHEME_NONE);
    return CUBLAS_STATUS_SUCCESS;
}

/* Three algorithms: the first splits sums in 4, the others are whole. data[0]: parts, data[1]:
 * id. */
static cublasStatus_t fake_MatmulAlgoGetHeuristic(
    cublasLtHandle_t h, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
    cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
    cublasLtMatmulPreference_t want, int most, cublasLtMatmulHeuristicResult_t *found,
    int *n_found) {
    const fake_product *p = (const void *)desc;
    (void)h, (void)a, (void)b, (void)want;
    assert_true(most >= 3 && c == d);
    *n_found = 0;
    if (fault == NO_BIAS && p->epilogue == CUBLASLT_EPILOGUE_BIAS &&
        ((const fake_layout *)(const void *)d)->type == CUDA_R_16BF)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    memset(found, 0, 3 * sizeof *found);
    for (int i = 0; i < 3; i++) {
        found[i].algo.data[0] = i == 0 ? 4 : fault == ALL_SPLIT ? 2 : 1;
        found[i].algo.data[1] = (uint64_t)i;
    }
    *n_found = 3;
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t fake_MatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algorithm,
                                                        cublasLtMatmulAlgoConfigAttributes_t what,
                                                        void *value, size_t n_bytes,
                                                        size_t *written) {
    uint32_t x = what == CUBLASLT_ALGO_CONFIG_SPLITK_NUM ? (uint32_t)algorithm->data[0]
                 : what == CUBLASLT_ALGO_CONFIG_ID       ? 70 + (uint32_t)algorithm->data[1]
                                                         : 0;
    assert_int_equal(n_bytes, sizeof x);
    memcpy(value, &x, *written = sizeof x);
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t fake_MatmulAlgoCheck(cublasLtHandle_t h, cublasLtMatmulDesc_t desc,
                                           cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                           cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                           const cublasLtMatmulAlgo_t *algorithm,
                                           cublasLtMatmulHeuristicResult_t *result) {
    (void)h, (void)desc, (void)a, (void)c, (void)d, (void)algorithm;
    result->workspaceSize = 4096;
    return fault == ROWS_REFUSED && ((const fake_layout *)(const void *)b)->cols == 65
               ? CUBLAS_STATUS_NOT_SUPPORTED
               : CUBLAS_STATUS_SUCCESS;
}

static void *fetched(const void *device, size_t n_bytes) {
    void *host = new_bytes(n_bytes);
    assert_int_equal(ms_gpu_download(stream, host, device, n_bytes, NULL), MSIM_OK);
    assert_int_equal(ms_gpu_sync(stream, NULL), MSIM_OK);
    return host;
}

/* bf16 values of the device as f32. */
static float *widened(const void *device, size_t n) {
    ms_bf16 *narrow = fetched(device, n * sizeof *narrow);
    float *wide = new_bytes(n * sizeof *wide);
    for (size_t i = 0; i < n; i++) wide[i] = ms_f32_of_bf16(narrow[i]);
    free(narrow);
    return wide;
}

/* D = A^T B + beta C, + bias along rows, all column-major; A, B of bf16. */
static cublasStatus_t fake_Matmul(cublasLtHandle_t h, cublasLtMatmulDesc_t desc, const void *alpha,
                                  const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                                  cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                                  cublasLtMatrixLayout_t c_layout, void *d,
                                  cublasLtMatrixLayout_t d_layout,
                                  const cublasLtMatmulAlgo_t *algorithm, void *workspace,
                                  size_t workspace_bytes, cudaStream_t on) {
    const fake_product *p = (const void *)desc;
    const fake_layout *la = (const void *)a_layout, *lb = (const void *)b_layout,
                      *ld = (const void *)d_layout;
    (void)h;
    assert_true(c == d && c_layout == d_layout && on == ms_gpu_stream_raw(stream) &&
                p->transposed == CUBLAS_OP_T);
    assert_true(algorithm->data[0] == 1 && workspace && workspace_bytes >= 4096 &&
                *(const float *)alpha == 1.0f);
    assert_true(la->rows == lb->rows && la->cols == ld->rows && lb->cols == ld->cols);
    bool wide = ld->type == CUDA_R_32F, biased = p->epilogue == CUBLASLT_EPILOGUE_BIAS;
    size_t m = ld->cols, n = ld->rows, out_bytes = m * (size_t)ld->stride * (wide ? 4 : 2);
    ms_bf16 *x = fetched(a, n * (size_t)la->stride * 2),
            *y = fetched(b, m * (size_t)lb->stride * 2);
    unsigned char *out = fetched(d, out_bytes);
    float *bias = NULL;
    if (biased) { /* of the result's type, as the library wants it */
        assert_int_equal(p->bias_type, ld->type);
        bias = wide ? fetched(p->bias, n * sizeof *bias) : widened(p->bias, n);
    }
    last_algorithm = (int)algorithm->data[1];
    for (size_t j = 0; j < m; j++)
        for (size_t i = 0; i < n; i++) {
            float sum = fault == VALUE_WRONG && i == 5 && j == 7             ? 3.0f
                        : fault == ROWS_MATTER && m == 1                     ? 0.05f
                        : fault == LONG_MATTERS && m > 4000 && j > 4000      ? 0.05f
                        : fault == FAST_ODD && last_algorithm == 2 && m == 1 ? 0.05f
                        : fault == SECOND_APART && last_algorithm == 2       ? 0.05f
                                                                             : 0.0f;
            for (size_t l = 0; l < la->rows; l++)
                sum += ms_f32_of_bf16(x[i * (size_t)la->stride + l]) *
                       ms_f32_of_bf16(y[j * (size_t)lb->stride + l]);
            if (biased) sum += bias[i];
            size_t at = j * (size_t)ld->stride + i;
            if (wide)
                ((float *)(void *)out)[at] = sum +
                                             *(const float *)beta * ((float *)(void *)out)[at];
            else
                ((ms_bf16 *)(void *)out)[at] = ms_bf16_of_f32(sum);
        }
    assert_int_equal(ms_gpu_upload(stream, d, out, out_bytes, NULL), MSIM_OK);
    assert_int_equal(ms_gpu_sync(stream, NULL), MSIM_OK);
    free(x);
    free(y);
    free(out);
    free(bias);
    n_products++;
    return CUBLAS_STATUS_SUCCESS;
}

/* Of the run before: no clock decides in a test. */
static double fake_seconds(const ms_gpu_event *from, const ms_gpu_event *to) {
    (void)from, (void)to;
    return (fault == FIRST_SLOW || fault == FAST_ODD) && last_algorithm == 1 ? 2e-3 : 1e-3;
}

static void *fake_open(const char *name, int flags) {
    (void)flags;
    assert_non_null(strstr(name, "libcublasLt.so"));
    if (fault == MISSING) return NULL;
    return new_object(1);
}

static int fake_close(void *library) {
    (void)end_object(library);
    return 0;
}

static void *fake_symbol(void *library, const char *name) {
    void *at = NULL;
    (void)library;
#define CASE(function)                                       \
    if (strcmp(name, "cublasLt" #function) == 0) {           \
        __typeof__(&cublasLt##function) f = fake_##function; \
        memcpy(&at, &f, sizeof at);                          \
    }
    FUNCTIONS(CASE)
#undef CASE
    assert_non_null(at);
    return fault == FUNCTION_MISSING && strcmp(name, "cublasLtMatmulAlgoCheck") == 0 ? NULL : at;
}

/* ---- A product of each kind ---- */

enum { M = 65, N = 192, K = 64, ROTATED = 128, POSITIONS = 16, PAIRS = 16, MAX_BYTES = M * N * 4 };

static unsigned char *device; /* a, w, bias, cos, sin, positions, dst */
static ms_gpu_gemm shapes[4]; /* by epilogue */

static int open_stream(void **state) {
    (void)state;
    msim_error err;
    enum {
        A = 0,
        W = A + M * K * 2,
        BIAS = W + N * K * 2,
        BIAS_BF16 = BIAS + N * 4,
        COS = BIAS_BF16 + N * 2,
        SIN = COS + POSITIONS * PAIRS * 4,
        AT = SIN + POSITIONS * PAIRS * 4,
        DST = (AT + M * 4 + 255) / 256 * 256,
        ALL = DST + MAX_BYTES
    };
    uint64_t seed = 1;
    if (ms_gpu_stream_open(0, &stream, &err) < 0) {
        printf("test_blaslt: %s\n", err.text);
        return -1;
    }
    device = ms_gpu_alloc(stream, ALL, 1, "operands", &err);
    unsigned char *host = test_alloc(ALL, 1);
    for (int i = 0; i < BIAS / 2; i++)
        ((ms_bf16 *)(void *)host)[i] = ms_bf16_of_f32(uniform(&seed));
    for (int i = BIAS / 4; i < AT / 4; i++) ((float *)(void *)host)[i] = uniform(&seed);
    for (int i = 0; i < N; i++) {
        float *bias = (float *)(void *)(host + BIAS) + i;
        *bias = ms_round_bf16(*bias);
        ((ms_bf16 *)(void *)(host + BIAS_BF16))[i] = ms_bf16_of_f32(*bias);
    }
    for (int i = 0; i < M; i++) ((int32_t *)(void *)(host + AT))[i] = i % POSITIONS;
    if (!device || ms_gpu_upload(stream, device, host, ALL, &err) < 0 ||
        ms_gpu_sync(stream, &err) < 0)
        return -1;
    ms_free(host);
    for (int e = MS_GPU_STORE; e <= MS_GPU_ADD; e++)
        shapes[e] =
            (ms_gpu_gemm){.a = (void *)(device + A),
                          .w = (void *)(device + W),
                          .dst = device + DST,
                          .bias = e > MS_GPU_ROTATE ? (void *)(device + BIAS) : NULL,
                          .bias_bf16 = e > MS_GPU_ROTATE ? (void *)(device + BIAS_BF16) : NULL,
                          .m = M,
                          .n = N,
                          .k = K,
                          .epilogue = e,
                          .cos = (void *)(device + COS),
                          .sin = (void *)(device + SIN),
                          .positions = (void *)(device + AT),
                          .rotated = ROTATED};
    return 0;
}

static int close_stream(void **state) {
    (void)state;
    ms_gpu_free(stream, device);
    ms_gpu_stream_close(stream);
    return 0;
}

static ms_gpu_projector *opened(int product) {
    ms_gpu_projector *p;
    msim_error err;
    if (ms_gpu_projector_open(stream, product, &p, &err) < 0) fail_msg("%s", err.text);
    return p;
}

/* What p makes of a shape; dst holds zeros before. To be freed. */
static void *result(ms_gpu_projector *p, const ms_gpu_gemm *g) {
    msim_error err;
    assert_int_equal(ms_gpu_fill(stream, g->dst, 0, MAX_BYTES, &err), MSIM_OK);
    if (ms_gpu_project(p, g, &err) < 0) fail_msg("%s", err.text);
    return fetched(g->dst, (size_t)(g->m * g->n) * (g->epilogue == MS_GPU_ADD ? 4 : 2));
}

/* That `auto` leaves a shape to our kernel, and its result is that kernel's. */
static void assert_own(const ms_gpu_gemm *g) {
    ms_gpu_projector *any = opened(MS_GPU_PRODUCT_AUTO), *own = opened(MS_GPU_PRODUCT_OWN);
    void *x = result(any, g), *y = result(own, g);
    assert_int_equal(ms_gpu_projector_choice(any, g), MS_GPU_PRODUCT_OWN);
    assert_memory_equal(x, y, (size_t)(g->m * g->n) * (g->epilogue == MS_GPU_ADD ? 4 : 2));
    free(x);
    free(y);
    ms_gpu_projector_close(any);
    ms_gpu_projector_close(own);
}

/* ---- Tests ---- */

static void test_every_epilogue(void **state) {
    (void)state;
    fault = NONE;
    ms_gpu_projector *any = opened(MS_GPU_PRODUCT_AUTO), *own = opened(MS_GPU_PRODUCT_OWN);
    assert_int_equal(ms_gpu_projector_library(any), CUBLAS_VERSION);
    for (int e = MS_GPU_STORE; e <= MS_GPU_ADD; e++) {
        const ms_gpu_gemm *g = &shapes[e];
        assert_int_equal(ms_gpu_projector_choice(any, g), MS_GPU_PRODUCT_AUTO);
        assert_int_equal(ms_gpu_projector_plan(any, g, NULL), MSIM_OK);
        assert_int_equal(ms_gpu_projector_choice(any, g), MS_GPU_PRODUCT_LIBRARY);
        n_products = 0;
        void *x = result(any, g), *y = result(own, g);
        assert_int_equal(n_products, 1);
        for (int i = 0; i < M * N; i++) { /* up to six roundings of values below 16 on either side:
                                           * kernels/encoder/project.c */
            float u = e == MS_GPU_ADD ? ((float *)x)[i] : ms_f32_of_bf16(((ms_bf16 *)x)[i]);
            float v = e == MS_GPU_ADD ? ((float *)y)[i] : ms_f32_of_bf16(((ms_bf16 *)y)[i]);
            assert_true(fabsf(u - v) <= (e == MS_GPU_ADD ? 0x1p-12f : 0x1p-6f * 16));
        }
        free(x);
        free(y);
    }
    ms_gpu_projector_close(any);
    ms_gpu_projector_close(own);
    assert_int_equal(n_live, 0);
}

static void test_no_library(void **state) {
    (void)state;
    static const struct {
        enum fault fault;
        const char *says;
    } cases[] = {{MISSING, "is installed"},
                 {OLDER, "expected major version"},
                 {FUNCTION_MISSING, "cublasLtMatmulAlgoCheck"},
                 {NO_START, "starting"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ms_gpu_projector *p;
        msim_error err;
        fault = cases[i].fault;
        assert_int_equal(ms_gpu_projector_open(stream, MS_GPU_PRODUCT_LIBRARY, &p, &err),
                         -MSIM_E_DEVICE);
        assert_null(p);
        assert_non_null(strstr(err.text, cases[i].says));
        p = opened(MS_GPU_PRODUCT_AUTO);
        assert_int_equal(ms_gpu_projector_library(p), 0);
        ms_gpu_projector_close(p);
        assert_own(&shapes[MS_GPU_STORE]);
        assert_int_equal(n_live, 0);
    }
}

static void test_shapes_left_to_our_kernel(void **state) {
    (void)state;
    static const struct {
        enum fault fault;
        int epilogue, rc;
        const char *says;
    } cases[] = {
        {ALL_SPLIT, MS_GPU_STORE, MSIM_E_UNSUPPORTED, "none of 3 algorithms serves: 3 split"},
        {NO_BIAS, MS_GPU_GELU, MSIM_E_UNSUPPORTED, "no support"},
        {ROWS_REFUSED, MS_GPU_ADD, MSIM_E_UNSUPPORTED,
         "1 split sums, 2 refuse some number of rows (first: 65)"},
        {VALUE_WRONG, MS_GPU_STORE, MSIM_E_DEVICE, "row 7, column 5"},
        {VALUE_WRONG, MS_GPU_ADD, MSIM_E_DEVICE, "row 7, column 5"},
        {ROWS_MATTER, MS_GPU_ROTATE, MSIM_E_UNSUPPORTED, "1 rows: the bits differ"},
        {LONG_MATTERS, MS_GPU_STORE, MSIM_E_UNSUPPORTED, "rows: the bits differ"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        msim_error err;
        fault = cases[i].fault;
        ms_gpu_projector *p = opened(MS_GPU_PRODUCT_LIBRARY);
        assert_int_equal(ms_gpu_projector_plan(p, &shapes[cases[i].epilogue], &err), -cases[i].rc);
        if (!strstr(err.text, cases[i].says)) fail_msg("'%s' lacks '%s'", err.text, cases[i].says);
        ms_gpu_projector_close(p);
        assert_own(&shapes[cases[i].epilogue]);
        assert_int_equal(n_live, 0);
    }
    fault = NONE;
    ms_gpu_gemm odd = shapes[MS_GPU_ROTATE]; /* not q, k and v of one width */
    odd.rotated = 64;
    assert_own(&odd);
    odd = shapes[MS_GPU_GELU]; /* an f32 bias alone: the library takes none behind bf16 */
    odd.bias_bf16 = NULL;
    assert_own(&odd);
}

/* Of algorithms that agree the fastest is chosen; one with other bits never is, however fast. */
static void test_choice_of_algorithm(void **state) {
    (void)state;
    static const struct {
        enum fault fault;
        int algorithm;
        const char *says;
    } cases[] = {
        {FIRST_SLOW, 2,
         "algorithm 72, tile 0, stages 0 (3 offered: 1 split sums, 0 refuse rows, 0 wrong, "
         "0 unsteady, 0 apart, 2 agree)"},
        {FAST_ODD, 1, "0 wrong, 1 unsteady, 0 apart, 1 agree)"},
        {SECOND_APART, 1,
         "algorithm 71, tile 0, stages 0 (3 offered: 1 split sums, 0 refuse rows, 0 "
         "wrong, 0 unsteady, 1 apart, 1 agree)"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const ms_gpu_gemm *g = &shapes[MS_GPU_STORE];
        char says[300];
        fault = cases[i].fault;
        ms_gpu_projector *p = opened(MS_GPU_PRODUCT_AUTO);
        free(result(p, g));
        assert_int_equal(last_algorithm, cases[i].algorithm);
        ms_gpu_projector_describe(p, g, says, sizeof says);
        if (!strstr(says, cases[i].says)) fail_msg("'%s' lacks '%s'", says, cases[i].says);
        ms_gpu_projector_close(p);
    }
    fault = VALUE_WRONG; /* and our kernel says why it is asked */
    char says[300];
    ms_gpu_projector *p = opened(MS_GPU_PRODUCT_AUTO);
    free(result(p, &shapes[MS_GPU_STORE]));
    ms_gpu_projector_describe(p, &shapes[MS_GPU_STORE], says, sizeof says);
    assert_non_null(strstr(says, "own kernel 64x64 (cuBLASLt: n 192, k 64: row 7, column 5"));
    ms_gpu_projector_close(p);
    ms_gpu_projector_set_auto(MS_GPU_PRODUCT_OWN);
    p = opened(MS_GPU_PRODUCT_AUTO);
    assert_int_equal(ms_gpu_projector_library(p), 0);
    ms_gpu_projector_close(p);
    ms_gpu_projector_set_auto(MS_GPU_PRODUCT_AUTO);
    fault = NONE;
    assert_int_equal(n_live, 0);
}

/* Without memory for the trial there is an error, not another choice. */
static void test_out_of_memory(void **state) {
    (void)state;
    fault = NONE;
    for (int64_t at = 1;; at++) {
        msim_error err;
        ms_gpu_projector *p = opened(MS_GPU_PRODUCT_AUTO);
        ms_mem_fail_at(at);
        int64_t before = ms_mem_count();
        int rc = ms_gpu_projector_plan(p, &shapes[MS_GPU_STORE], &err);
        bool reached = ms_mem_count() - before >= at;
        ms_mem_fail_at(0);
        assert_int_equal(ms_gpu_projector_choice(p, &shapes[MS_GPU_STORE]),
                         rc < 0 ? MS_GPU_PRODUCT_AUTO : MS_GPU_PRODUCT_LIBRARY);
        ms_gpu_projector_close(p);
        assert_int_equal(n_live, 0);
        if (!reached) {
            assert_int_equal(rc, MSIM_OK);
            assert_true(at > 3); /* table, plan, trial */
            return;
        }
        assert_int_equal(rc, -MSIM_E_MEMORY);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_epilogue), cmocka_unit_test(test_no_library),
        cmocka_unit_test(test_shapes_left_to_our_kernel),
        cmocka_unit_test(test_choice_of_algorithm), cmocka_unit_test(test_out_of_memory)};
    return cmocka_run_group_tests(tests, open_stream, close_stream);
}
#endif
