/* cuBLASLt where kernels run on a CPU: never there, so that every product is our kernel's. */
#include "kernels/encoder/blaslt.h"

int ms_gpu_blaslt_open(ms_gpu_stream *stream, ms_gpu_blaslt **out, msim_error *err) {
    (void)stream;
    *out = NULL;
    return ms_fail(err, MSIM_E_DEVICE, "cuBLASLt: expected a GPU, got an emulated one");
}

void ms_gpu_blaslt_close(ms_gpu_blaslt *lt) { (void)lt; }

size_t ms_gpu_blaslt_version(const ms_gpu_blaslt *lt) {
    (void)lt;
    return 0;
}

int ms_gpu_blaslt_plan_open(ms_gpu_blaslt *lt, int64_t n, int64_t k, int result, bool has_bias,
                            ms_gpu_blaslt_plan **out, msim_error *err) {
    (void)lt, (void)n, (void)k, (void)result, (void)has_bias;
    *out = NULL;
    return ms_fail(err, MSIM_E_UNSUPPORTED, "cuBLASLt: expected a GPU, got an emulated one");
}

void ms_gpu_blaslt_plan_close(ms_gpu_blaslt_plan *plan) { (void)plan; }

ms_gpu_blaslt_counts ms_gpu_blaslt_plan_counts(const ms_gpu_blaslt_plan *plan) {
    (void)plan;
    return (ms_gpu_blaslt_counts){.n_kept = 0};
}

void ms_gpu_blaslt_plan_use(ms_gpu_blaslt_plan *plan, int i) { (void)plan, (void)i; }

void ms_gpu_blaslt_plan_describe(const ms_gpu_blaslt_plan *plan, char *out, size_t cap) {
    (void)plan;
    if (cap) *out = '\0';
}

int ms_gpu_blaslt_multiply(ms_gpu_blaslt_plan *plan, void *dst, const ms_bf16 *a, const ms_bf16 *w,
                           const void *bias, int64_t m, msim_error *err) {
    (void)plan, (void)dst, (void)a, (void)w, (void)bias, (void)m;
    return ms_fail(err, MSIM_E_UNSUPPORTED, "cuBLASLt: expected a GPU, got an emulated one");
}
