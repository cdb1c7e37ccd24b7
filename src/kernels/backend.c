/* The CUDA backend: fills search/backend.h. A model is the weights on each device that the options
 * name (kernels/encoder/model.h); a context has a share for each of them (kernels/shares.h). Which
 * devices those are is decided here. docs/GPU.md. */
#include "base/mem.h"
#include "kernels/backend.h"
#include "kernels/kernels.h"
#include "kernels/search/join.h"
#include "kernels/shares.h"
#include <string.h>

enum {
    OLDEST_MAJOR = 8
}; /* compute capability: bf16 tensor cores and copies into shared memory
                            * without waiting */

typedef struct {
    int devices[MS_GPU_MAX_DEVICES]; /* indices */
    int n_devices;
    ms_gpu_model *weights[MS_GPU_MAX_DEVICES]; /* owned: one a device */
} model;

/* ---- Devices ---- */

int ms_gpu_compiled(void) { return 1; }

static int check_device(int index, msim_error *err) {
    ms_gpu_info info;
    int rc = ms_gpu_get_info(index, &info, err);
    if (rc < 0 || info.major >= OLDEST_MAJOR) return rc;
    return ms_fail(err, MSIM_E_DEVICE,
                   "device: cuda:%d: %s: expected compute capability %d.0 or later, got %d.%d",
                   index, info.name, OLDEST_MAJOR, info.major, info.minor);
}

/* Choose the devices of options.gpu: the one it names, or all that can be used. Fails when there is
 * none. */
static int list_devices(int gpu, int devices[MS_GPU_MAX_DEVICES], int *n, msim_error *err) {
    int n_present = ms_gpu_count(), rc = check_device(gpu < 0 ? 0 : gpu, err);
    *n = 0;
    for (int i = gpu < 0 ? 0 : gpu; i < n_present && *n < MS_GPU_MAX_DEVICES; i++) {
        if (check_device(i, NULL) >= 0) devices[(*n)++] = i;
        if (gpu >= 0) break;
    }
    return *n > 0   ? MSIM_OK
           : rc < 0 ? rc
                    : ms_fail(err, MSIM_E_DEVICE, "device: cuda: this machine has no NVIDIA GPU");
}

bool ms_gpu_usable(int index, msim_error *err) {
    int devices[MS_GPU_MAX_DEVICES], n;
    return list_devices(index, devices, &n, err) >= 0;
}

int ms_gpu_visible(void) { return ms_gpu_count(); }

int ms_gpu_describe(int index, msim_gpu_info *out, msim_error *err) {
    ms_gpu_info info;
    int rc = ms_gpu_get_info(index, &info, err);
    if (rc < 0) return rc;
    *out = (msim_gpu_info){.major = info.major,
                           .minor = info.minor,
                           .multiprocessors = info.multiprocessors,
                           .memory_bytes = (int64_t)info.memory_bytes};
    memcpy(out->name, info.name, sizeof out->name);
    return MSIM_OK;
}

/* ---- Models ---- */

static void model_close(void *arg) {
    model *m = arg;
    if (!m) return;
    for (int i = 0; i < m->n_devices; i++) ms_gpu_model_close(m->weights[i]);
    ms_free(m);
}

static int model_open(const ms_weights *weights, const msim_options *options, void **out,
                      msim_model_info *chosen, msim_error *err) {
    if (options->precision != MSIM_PRECISION_BF16)
        return ms_fail(err, MSIM_E_UNSUPPORTED, "precision: expected bf16 on CUDA, got %s",
                       msim_precision_name(options->precision));
    model *m = ms_alloc(1, sizeof *m, "CUDA model", err);
    if (!m) return -MSIM_E_MEMORY;
    int rc = list_devices(options->gpu, m->devices, &m->n_devices, err);
    for (int i = 0; rc >= 0 && i < m->n_devices; i++)
        rc = ms_gpu_model_open(m->devices[i], weights, options->precision, &m->weights[i], err);
    if (rc < 0) {
        model_close(m);
        return rc;
    }
    chosen->device = MSIM_DEVICE_CUDA;
    chosen->isa = MSIM_ISA_AUTO;
    *out = m;
    return MSIM_OK;
}

/* ---- Contexts ---- */

static int context_open(const void *arg, const msim_options *options, void **out, msim_error *err) {
    const model *m = arg;
    int devices[MS_GPU_MAX_DEVICES], n;
    ms_gpu_shares *shares;
    if (options->max_k > MS_GPU_MAX_K)
        return ms_fail(err, MSIM_E_UNSUPPORTED, "max_k: expected at most %d on CUDA, got %lld",
                       MS_GPU_MAX_K, (long long)options->max_k);
    int rc = m ? MSIM_OK : list_devices(options->gpu, devices, &n, err);
    if (rc >= 0)
        rc = ms_gpu_shares_open(m ? m->devices : devices, m ? m->n_devices : n,
                                m ? m->weights : NULL, options, &shares, err);
    if (rc >= 0) *out = shares;
    return rc;
}

static void context_close(void *context) { ms_gpu_shares_close(context); }

static int embed_submit(void *context, const ms_batch *batch, const float *class_weights,
                        float *out, msim_error *err) {
    return ms_gpu_shares_submit(context, batch, class_weights, out, err);
}

static int embed_wait(void *context, msim_error *err) { return ms_gpu_shares_wait(context, err); }

static int embed(void *context, const ms_batch *batch, const float *class_weights, float *out,
                 msim_error *err) {
    int rc = ms_gpu_shares_submit(context, batch, class_weights, out, err);
    return rc < 0 ? rc : ms_gpu_shares_wait(context, err);
}

static int embed_tokens(void *context, const ms_batch *batch, float *out, msim_error *err) {
    return ms_gpu_shares_embed_tokens(context, batch, out, err);
}

static int load_rows(void *context, const ms_rows *views, size_t n_views, int64_t first, int64_t n,
                     msim_error *err) {
    return ms_gpu_shares_load(context, views, n_views, first, n, err);
}

static int64_t score_topk(void *context, const ms_search_request *request, ms_hit *hits,
                          msim_error *err) {
    return ms_gpu_shares_topk(context, request, hits, err);
}

static int64_t score_above(void *context, const ms_search_request *request, msim_error *err) {
    return ms_gpu_shares_above(context, request, err);
}

static void search_outcome(const void *context, ms_search_outcome *out) {
    ms_gpu_shares_outcome(context, out);
}
static void stage_seconds(const void *context, double *out) {
    ms_gpu_shares_stage_seconds(context, out);
}

const ms_backend *ms_gpu_backend(void) {
    static const ms_backend backend = {.name = "cuda",
                                       .max_k = MS_GPU_MAX_K,
                                       .model_open = model_open,
                                       .model_close = model_close,
                                       .open = context_open,
                                       .close = context_close,
                                       .embed = embed,
                                       .embed_tokens = embed_tokens,
                                       .embed_submit = embed_submit,
                                       .embed_wait = embed_wait,
                                       .load_rows = load_rows,
                                       .score_topk = score_topk,
                                       .score_above = score_above,
                                       .search_outcome = search_outcome,
                                       .stage_seconds = stage_seconds};
    return &backend;
}

/* ---- Joins: on the first device that the options name ---- */

static int join_open(int gpu, const ms_join_side *left, const ms_join_side *right, void **out,
                     msim_error *err) {
    int devices[MS_GPU_MAX_DEVICES], n;
    ms_gpu_joiner *joiner;
    int rc = list_devices(gpu, devices, &n, err);
    if (rc >= 0) rc = ms_gpu_join_open(devices[0], left, right, NULL, &joiner, err);
    if (rc >= 0) *out = joiner;
    return rc;
}

static void join_close(void *state) { ms_gpu_join_close(state); }

static int join_find(void *state, const ms_join_strip *strip, ms_join_take take, void *user,
                     msim_error *err) {
    return ms_gpu_join_find(state, strip, take, user, err);
}

const ms_join_device *ms_gpu_join_device(void) {
    /* reasoned: 128 operations of 2 x 10^14 a second against 100 ns of ten threads */
    static const ms_join_device device = {
        .steps_per_score = 10000, .open = join_open, .close = join_close, .find = join_find};
    return &device;
}
