/* kernels/encoder/blaslt.h on cuBLASLt, taken from the machine with dlopen. Its structures belong
 * to a major version, so only that of the header compiled against is opened (libcublasLt.so.13 for
 * CUDA 13); of any other the caller hears the version.
 *
 * cuBLASLt is column-major: dst [m, n] in rows is dst^T [n, m] in columns, the product of w (its
 * rows are columns of w^T, hence 'transposed') and a^T as it lies. Of its epilogues GELU is of no
 * use here, because it is the tanh form, not the erf one (pytorch/pytorch, pull request 104061),
 * and a bias has the type of the result but for some 8-bit kernels (cublasLt.h,
 * CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE), so behind a bf16 product it is given in bf16.
 *
 * One handle, one workspace and its plans belong to one stream, whose order keeps the workspace
 * from being used twice. */
#include "kernels/encoder/blaslt.h"
#include "base/mem.h"
#include <cublasLt.h>
#include <dlfcn.h>
#include <stdio.h>

enum { WORKSPACE_BYTES = 32 << 20, NOMINAL_ROWS = 8192, ALIGNMENT = 16 };

/* The functions used. clang-format lays this list out in another way each time. */
/* clang-format off */
#define FUNCTIONS(X) \
    X(Create) \
    X(Destroy) \
    X(GetVersion) \
    X(GetStatusName) \
    X(MatmulDescCreate) \
    X(MatmulDescDestroy) \
    X(MatmulDescSetAttribute) \
    X(MatrixLayoutCreate) \
    X(MatrixLayoutDestroy) \
    X(MatrixLayoutSetAttribute) \
    X(MatmulPreferenceCreate) \
    X(MatmulPreferenceDestroy) \
    X(MatmulPreferenceSetAttribute) \
    X(MatmulAlgoGetHeuristic) \
    X(MatmulAlgoConfigGetAttribute) \
    X(MatmulAlgoCheck) \
    X(Matmul)
/* clang-format on */

typedef struct {
#define POINTER(name) __typeof__(&cublasLt##name) name;
    FUNCTIONS(POINTER)
#undef POINTER
} functions;

struct ms_gpu_blaslt {
    ms_gpu_stream *stream; /* borrowed */
    void *library;         /* owned */
    functions call;
    cublasLtHandle_t handle; /* owned */
    void *workspace;         /* owned: device, WORKSPACE_BYTES */
};

struct ms_gpu_blaslt_plan {
    ms_gpu_blaslt *lt; /* borrowed */
    int64_t n, k;
    int result;
    bool has_bias;
    cublasLtMatmulDesc_t product; /* owned, as are the layouts of w, a^T and dst^T */
    cublasLtMatrixLayout_t w, a, dst;
    cublasLtMatmulAlgo_t algorithm; /* in use */
    cublasLtMatmulAlgo_t kept[MS_GPU_BLASLT_ALGORITHMS];
    ms_gpu_blaslt_counts counts;
    int64_t rows; /* that the layouts are set to and the algorithm is known to take;
                                 * 0: none */
};

static int check(const ms_gpu_blaslt *lt, cublasStatus_t rc, const char *attempt, msim_error *err) {
    if (rc == CUBLAS_STATUS_SUCCESS) return MSIM_OK;
    return ms_fail(err,
                   rc == CUBLAS_STATUS_NOT_SUPPORTED  ? MSIM_E_UNSUPPORTED
                   : rc == CUBLAS_STATUS_ALLOC_FAILED ? MSIM_E_MEMORY
                                                      : MSIM_E_DEVICE,
                   "cuBLASLt: %s failed: %s", attempt, lt->call.GetStatusName(rc));
}

/* ---- The library ---- */

static int load_functions(ms_gpu_blaslt *lt, msim_error *err) {
    struct {
        const char *name;
        void *to;
    } wanted[] = {
#define ENTRY(name) {"cublasLt" #name, &lt->call.name},
        FUNCTIONS(ENTRY)
#undef ENTRY
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        void *at = dlsym(lt->library, wanted[i].name);
        if (!at)
            return ms_fail(err, MSIM_E_DEVICE, "cuBLASLt: the library has no function %s",
                           wanted[i].name);
        memcpy(wanted[i].to, &at, sizeof at);
    }
    return MSIM_OK;
}

static int load_library(ms_gpu_blaslt *lt, msim_error *err) {
    char name[64];
    snprintf(name, sizeof name, "libcublasLt.so.%d", CUBLAS_VER_MAJOR);
    /* NODELETE: a library that has talked to the driver does not survive being unmapped under
     * it. */
    lt->library = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!lt->library) lt->library = dlopen("libcublasLt.so", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!lt->library)
        return ms_fail(err, MSIM_E_DEVICE, "cuBLASLt: neither %s nor libcublasLt.so is installed",
                       name);
    int rc = load_functions(lt, err);
    if (rc < 0) return rc;
    size_t version = lt->call.GetVersion();
    if (version / 10000 != CUBLAS_VER_MAJOR)
        return ms_fail(err, MSIM_E_DEVICE, "cuBLASLt: expected major version %d, got %zu",
                       CUBLAS_VER_MAJOR, version / 10000);
    return MSIM_OK;
}

int ms_gpu_blaslt_open(ms_gpu_stream *stream, ms_gpu_blaslt **out, msim_error *err) {
    *out = NULL;
    ms_gpu_blaslt *lt = ms_alloc(1, sizeof *lt, "cuBLASLt", err);
    if (!lt) return -MSIM_E_MEMORY;
    lt->stream = stream;
    int rc = load_library(lt, err);
    (void)ms_gpu_stream_raw(stream); /* its device is the one the handle is made for */
    if (rc >= 0) rc = check(lt, lt->call.Create(&lt->handle), "starting", err);
    if (rc >= 0 &&
        !(lt->workspace = ms_gpu_alloc(stream, WORKSPACE_BYTES, 1, "workspace of cuBLASLt", err)))
        rc = -MSIM_E_MEMORY;
    if (rc < 0) {
        ms_gpu_blaslt_close(lt);
        return rc;
    }
    *out = lt;
    return MSIM_OK;
}

void ms_gpu_blaslt_close(ms_gpu_blaslt *lt) {
    if (!lt) return;
    ms_gpu_free(lt->stream, lt->workspace); /* waits for the device */
    if (lt->handle) (void)lt->call.Destroy(lt->handle);
    if (lt->library) dlclose(lt->library);
    ms_free(lt);
}

size_t ms_gpu_blaslt_version(const ms_gpu_blaslt *lt) { return lt->call.GetVersion(); }

/* ---- Plans ---- */

static int describe(ms_gpu_blaslt_plan *plan, msim_error *err) {
    const functions *f = &plan->lt->call;
    cudaDataType_t type = plan->result == MS_GPU_BLASLT_ADD ? CUDA_R_32F : CUDA_R_16BF,
                   bias_type = type;
    cublasOperation_t transposed = CUBLAS_OP_T;
    cublasLtEpilogue_t epilogue = plan->has_bias ? CUBLASLT_EPILOGUE_BIAS
                                                 : CUBLASLT_EPILOGUE_DEFAULT;
    const void *bias = (const void *)(uintptr_t)ALIGNMENT; /* only its alignment is looked at until
                                                            * a product runs */
    uint64_t n = (uint64_t)plan->n, k = (uint64_t)plan->k;
    cublasStatus_t rc = f->MatmulDescCreate(&plan->product, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (!rc)
        rc = f->MatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                       sizeof transposed);
    if (!rc)
        rc = f->MatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                       sizeof epilogue);
    if (!rc && plan->has_bias)
        rc = f->MatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
                                       &bias_type, sizeof bias_type);
    if (!rc && plan->has_bias)
        rc = f->MatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias,
                                       sizeof bias);
    if (!rc) rc = f->MatrixLayoutCreate(&plan->w, CUDA_R_16BF, k, n, (int64_t)k);
    if (!rc) rc = f->MatrixLayoutCreate(&plan->a, CUDA_R_16BF, k, NOMINAL_ROWS, (int64_t)k);
    if (!rc) rc = f->MatrixLayoutCreate(&plan->dst, type, n, NOMINAL_ROWS, (int64_t)n);
    return check(plan->lt, rc, "describing a product", err);
}

static int candidates(ms_gpu_blaslt_plan *plan, cublasLtMatmulHeuristicResult_t *found,
                      int *n_found, msim_error *err) {
    const functions *f = &plan->lt->call;
    cublasLtMatmulPreference_t want = NULL;
    uint64_t workspace = WORKSPACE_BYTES;
    uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_NONE, alignment = ALIGNMENT;
    static const cublasLtMatmulPreferenceAttributes_t aligned[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    cublasStatus_t rc = f->MatmulPreferenceCreate(&want);
    if (!rc)
        rc = f->MatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                             &workspace, sizeof workspace);
    if (!rc)
        rc = f->MatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                             &reductions, sizeof reductions);
    for (size_t i = 0; i < sizeof aligned / sizeof *aligned && !rc; i++)
        rc = f->MatmulPreferenceSetAttribute(want, aligned[i], &alignment, sizeof alignment);
    if (!rc)
        rc = f->MatmulAlgoGetHeuristic(plan->lt->handle, plan->product, plan->w, plan->a, plan->dst,
                                       plan->dst, want, MS_GPU_BLASLT_ALGORITHMS, found, n_found);
    if (want) (void)f->MatmulPreferenceDestroy(want);
    return check(plan->lt, rc, "asking for algorithms", err);
}

/* Whether sums are whole: neither split nor reduced between blocks. */
static bool sums_whole(const ms_gpu_blaslt_plan *plan, const cublasLtMatmulAlgo_t *algorithm) {
    const functions *f = &plan->lt->call;
    int32_t parts = 0;
    uint32_t scheme = 0;
    size_t written;
    return !f->MatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &parts,
                                            sizeof parts, &written) &&
           !f->MatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME,
                                            &scheme, sizeof scheme, &written) &&
           parts <= 1 && scheme == CUBLASLT_REDUCTION_SCHEME_NONE;
}

/* Set the layouts to m rows and ask whether the algorithm takes them. */
static int set_rows(ms_gpu_blaslt_plan *plan, int64_t m, msim_error *err) {
    const functions *f = &plan->lt->call;
    uint64_t rows = (uint64_t)m;
    cublasLtMatmulHeuristicResult_t seen = {.workspaceSize = 0};
    if (plan->rows == m) return MSIM_OK;
    plan->rows = 0;
    cublasStatus_t rc =
        f->MatrixLayoutSetAttribute(plan->a, CUBLASLT_MATRIX_LAYOUT_COLS, &rows, sizeof rows);
    if (!rc)
        rc =
            f->MatrixLayoutSetAttribute(plan->dst, CUBLASLT_MATRIX_LAYOUT_COLS, &rows, sizeof rows);
    if (!rc)
        rc = f->MatmulAlgoCheck(plan->lt->handle, plan->product, plan->w, plan->a, plan->dst,
                                plan->dst, &plan->algorithm, &seen);
    if (!rc && seen.workspaceSize > WORKSPACE_BYTES) rc = CUBLAS_STATUS_NOT_SUPPORTED;
    if (rc)
        return ms_fail(
            err, MSIM_E_DEVICE,
            "cuBLASLt: product of %lld rows: the chosen algorithm does not take them: %s",
            (long long)m, f->GetStatusName(rc));
    plan->rows = m;
    return MSIM_OK;
}

/* The first number of rows, few, many and any remainder of a tile, that the algorithm does not
 * take; 0: it takes all. */
static int64_t refused_rows(ms_gpu_blaslt_plan *plan) {
    for (int64_t power = 1; power <= MS_GPU_BLASLT_ROWS; power *= 2)
        for (int64_t m = power - 1; m <= power + 1; m++)
            if (m > 0 && m <= MS_GPU_BLASLT_ROWS && set_rows(plan, m, NULL) < 0) return m;
    return 0;
}

/* Keep the algorithms that serve. */
static void sort_out(ms_gpu_blaslt_plan *plan, const cublasLtMatmulHeuristicResult_t *found,
                     int n_found) {
    ms_gpu_blaslt_counts *c = &plan->counts;
    c->n_offered = n_found;
    for (int i = 0; i < n_found; i++) {
        plan->algorithm = found[i].algo;
        plan->rows = 0;
        if (!sums_whole(plan, &plan->algorithm)) {
            c->n_split++;
            continue;
        }
        int64_t refused = found[i].state == CUBLAS_STATUS_SUCCESS ? refused_rows(plan)
                                                                  : NOMINAL_ROWS;
        if (refused) {
            c->n_refusing++;
            if (!c->refused_rows) c->refused_rows = refused;
        } else {
            plan->kept[c->n_kept++] = plan->algorithm;
        }
    }
}

int ms_gpu_blaslt_plan_open(ms_gpu_blaslt *lt, int64_t n, int64_t k, int result, bool has_bias,
                            ms_gpu_blaslt_plan **out, msim_error *err) {
    cublasLtMatmulHeuristicResult_t found[MS_GPU_BLASLT_ALGORITHMS];
    int n_found = 0;
    *out = NULL;
    ms_gpu_blaslt_plan *plan = ms_alloc(1, sizeof *plan, "plan of a product", err);
    if (!plan) return -MSIM_E_MEMORY;
    *plan = (ms_gpu_blaslt_plan){.lt = lt, .n = n, .k = k, .result = result, .has_bias = has_bias};
    (void)ms_gpu_stream_raw(lt->stream);
    int rc = describe(plan, err);
    if (rc >= 0) rc = candidates(plan, found, &n_found, err);
    if (rc >= 0) sort_out(plan, found, n_found);
    const ms_gpu_blaslt_counts *c = &plan->counts;
    if (rc >= 0 && !c->n_kept)
        rc = ms_fail(err, MSIM_E_UNSUPPORTED,
                     "cuBLASLt: n %lld, k %lld: none of %d algorithms serves: %d split sums, %d "
                     "refuse some number of rows (first: %lld)",
                     (long long)n, (long long)k, c->n_offered, c->n_split, c->n_refusing,
                     (long long)c->refused_rows);
    if (rc < 0) {
        ms_gpu_blaslt_plan_close(plan);
        return rc;
    }
    ms_gpu_blaslt_plan_use(plan, 0);
    *out = plan;
    return MSIM_OK;
}

ms_gpu_blaslt_counts ms_gpu_blaslt_plan_counts(const ms_gpu_blaslt_plan *plan) {
    return plan->counts;
}

void ms_gpu_blaslt_plan_use(ms_gpu_blaslt_plan *plan, int i) {
    plan->algorithm = plan->kept[i];
    plan->rows = 0;
}

void ms_gpu_blaslt_plan_describe(const ms_gpu_blaslt_plan *plan, char *out, size_t cap) {
    static const cublasLtMatmulAlgoConfigAttributes_t what[] = {
        CUBLASLT_ALGO_CONFIG_ID, CUBLASLT_ALGO_CONFIG_TILE_ID, CUBLASLT_ALGO_CONFIG_STAGES_ID};
    int32_t number[] = {-1, -1, -1};
    size_t written;
    for (int i = 0; i < 3; i++)
        (void)plan->lt->call.MatmulAlgoConfigGetAttribute(&plan->algorithm, what[i], &number[i],
                                                          sizeof *number, &written);
    snprintf(out, cap, "algorithm %d, tile %d, stages %d", number[0], number[1], number[2]);
}

void ms_gpu_blaslt_plan_close(ms_gpu_blaslt_plan *plan) {
    if (!plan) return;
    const functions *f = &plan->lt->call;
    if (plan->dst) (void)f->MatrixLayoutDestroy(plan->dst);
    if (plan->a) (void)f->MatrixLayoutDestroy(plan->a);
    if (plan->w) (void)f->MatrixLayoutDestroy(plan->w);
    if (plan->product) (void)f->MatmulDescDestroy(plan->product);
    ms_free(plan);
}

/* At most MS_GPU_BLASLT_ROWS rows; the bias is set. */
static int multiply_part(ms_gpu_blaslt_plan *plan, void *dst, const ms_bf16 *a, const ms_bf16 *w,
                         int64_t m, cudaStream_t stream, msim_error *err) {
    ms_gpu_blaslt *lt = plan->lt;
    float alpha = 1.0f, beta = plan->result == MS_GPU_BLASLT_ADD ? 1.0f : 0.0f;
    int rc = set_rows(plan, m, err);
    if (rc < 0) return rc;
    return check(lt,
                 lt->call.Matmul(lt->handle, plan->product, &alpha, w, plan->w, a, plan->a, &beta,
                                 dst, plan->dst, dst, plan->dst, &plan->algorithm, lt->workspace,
                                 WORKSPACE_BYTES, stream),
                 "a product", err);
}

int ms_gpu_blaslt_multiply(ms_gpu_blaslt_plan *plan, void *dst, const ms_bf16 *a, const ms_bf16 *w,
                           const void *bias, int64_t m, msim_error *err) {
    ms_gpu_blaslt *lt = plan->lt;
    cudaStream_t stream = ms_gpu_stream_raw(lt->stream);
    size_t item = plan->result == MS_GPU_BLASLT_ADD ? sizeof(float) : sizeof(ms_bf16);
    int rc = MSIM_OK;
    if (plan->has_bias)
        rc = check(lt,
                   lt->call.MatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                   &bias, sizeof bias),
                   "setting a bias", err);
    for (int64_t at = 0; at < m && rc >= 0; at += MS_GPU_BLASLT_ROWS)
        rc = multiply_part(plan, (char *)dst + (size_t)(at * plan->n) * item, a + at * plan->k, w,
                           m - at < MS_GPU_BLASLT_ROWS ? m - at : MS_GPU_BLASLT_ROWS, stream, err);
    return rc;
}
