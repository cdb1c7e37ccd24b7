/* Weights to a device: kernels/encoder/model.h. Two passes over one layout function: the first,
 * without memory, adds up sizes; the second fills a small pinned buffer, part by part, and sends
 * it. So the host never holds a second copy of the weights. */
#include "kernels/encoder/model.h"
#include "base/mem.h"

enum {
    STAGING_BYTES = 4 << 20, /* the time of a copy this large hides the cost of waiting for it */
    DEVICE_ALIGN = 256       /* of every part: what cudaMalloc itself gives */
};

/* Where the next part goes. base NULL: only counting. */
typedef struct {
    unsigned char *base; /* device memory */
    size_t used;
    bool overflow;
    ms_gpu_stream *stream;
    unsigned char *staging; /* pinned: [STAGING_BYTES] */
    int rc;                 /* of the first upload that failed; none follows it */
    msim_error *err;
} gpu_layout;

static void *take(gpu_layout *l, size_t n_items, size_t item_bytes) {
    size_t n_bytes, end, at = l->used;
    if (!ms_mul_size(n_items, item_bytes, &n_bytes) ||
        !ms_add_size(n_bytes, DEVICE_ALIGN - 1, &n_bytes) ||
        !ms_add_size(at, n_bytes & ~(size_t)(DEVICE_ALIGN - 1), &end)) {
        l->overflow = true;
        return NULL;
    }
    l->used = end;
    return l->base ? l->base + at : NULL;
}

/* Send the first n_bytes of the staging buffer, and wait: the next part is written over them. */
static void send_part(gpu_layout *l, void *to, size_t n_bytes) {
    if (l->rc >= 0) l->rc = ms_gpu_upload(l->stream, to, l->staging, n_bytes, l->err);
    if (l->rc >= 0) l->rc = ms_gpu_sync(l->stream, l->err);
}

/* A vector or table as f32 plus `offset`; a bias is rounded to bf16 (and has no offset). */
static const float *take_f32(gpu_layout *l, ms_tensor t, float offset, bool is_bias) {
    size_t n = (size_t)t.n, most = STAGING_BYTES / sizeof(float);
    float *out = take(l, n, sizeof *out), *part = (float *)(void *)l->staging;
    for (size_t at = 0; out && at < n && l->rc >= 0; at += most) {
        size_t count = n - at < most ? n - at : most;
        for (size_t i = 0; i < count; i++) {
            float x = ms_tensor_get(t, (int64_t)(at + i));
            part[i] = (is_bias ? ms_round_bf16(x) : x) + offset;
        }
        send_part(l, out + at, count * sizeof *part);
    }
    return out;
}

/* Matrices one behind the other, rounded to bf16. */
static const ms_bf16 *take_bf16(gpu_layout *l, const ms_tensor *tensors, size_t n_tensors) {
    size_t all = 0, most = STAGING_BYTES / sizeof(ms_bf16);
    for (size_t i = 0; i < n_tensors; i++)
        if (!ms_add_size(all, (size_t)tensors[i].n, &all)) l->overflow = true;
    ms_bf16 *out = take(l, all, sizeof *out), *to = out, *part = (ms_bf16 *)(void *)l->staging;
    for (size_t i = 0; out && i < n_tensors; i++)
        for (size_t at = 0, n = (size_t)tensors[i].n; at < n && l->rc >= 0; at += most) {
            size_t count = n - at < most ? n - at : most;
            for (size_t j = 0; j < count; j++)
                part[j] = ms_bf16_of_f32(ms_tensor_get(tensors[i], (int64_t)(at + j)));
            send_part(l, to, count * sizeof *part);
            to += count;
        }
    return out;
}

static void lay_out(gpu_layout *l, ms_gpu_model *m, const ms_weights *w) {
    m->token_emb = take_f32(l, w->token_emb, 0.0f, false);
    m->final_scale = take_f32(l, w->final_gamma, 1.0f, false);
    for (int64_t i = 0; i < m->depth; i++) {
        const ms_block_weights *b = &w->block[i];
        ms_gpu_block *to = &m->block[i];
        to->attn_scale = take_f32(l, b->attn_gamma, 1.0f, false);
        to->wqkv = take_bf16(l, (const ms_tensor[]){b->wq, b->wk, b->wv}, 3);
        to->wo = take_bf16(l, &b->wo, 1);
        to->ff_scale = take_f32(l, b->ff_gamma, 1.0f, false);
        to->w1 = take_bf16(l, &b->w1, 1);
        to->b1 = take_f32(l, b->b1, 0.0f, true);
        to->b1_bf16 = take_bf16(l, &b->b1, 1);
        to->w2 = take_bf16(l, &b->w2, 1);
        to->b2 = take_f32(l, b->b2, 0.0f, true);
    }
}

static int check_sizes(const ms_weights *w, int precision, msim_error *err) {
    const struct {
        const char *name;
        int64_t width;
    } widths[] = {{"width", w->dim}, {"inner width", w->inner}, {"feed-forward width", w->ff}};
    if (precision != MSIM_PRECISION_BF16) {
        const char *name = msim_precision_name(precision);
        return ms_fail(err, MSIM_E_UNSUPPORTED, "precision: expected bf16 on CUDA, got %s",
                       name ? name : "none");
    }
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        if (widths[i].width < 64 || widths[i].width % 64)
            return ms_fail(err, MSIM_E_UNSUPPORTED,
                           "model %s: expected a multiple of 64 on CUDA, got %lld", widths[i].name,
                           (long long)widths[i].width);
    if (w->dim > MS_GPU_MAX_DIM)
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "model width: expected at most %d on CUDA, got %lld", MS_GPU_MAX_DIM,
                       (long long)w->dim);
    return MSIM_OK;
}

int ms_gpu_model_open(int device, const ms_weights *weights, int precision, ms_gpu_model **out,
                      msim_error *err) {
    int rc = check_sizes(weights, precision, err);
    if (rc < 0) return rc;
    ms_gpu_model *m = ms_alloc(1, sizeof *m, "model", err);
    if (!m) return -MSIM_E_MEMORY;
    m->device = device;
    m->dim = weights->dim;
    m->depth = weights->depth;
    m->heads = weights->heads;
    m->inner = weights->inner;
    m->ff = weights->ff;
    m->vocab = weights->vocab;
    for (int i = 0; i < MS_ROTARY_PAIRS; i++) m->inv_freq[i] = ms_tensor_get(weights->inv_freq, i);
    gpu_layout l = {.err = err};
    lay_out(&l, m, weights);
    if (l.overflow) rc = ms_fail(err, MSIM_E_MEMORY, "model: the weights do not fit in memory");
    if (rc >= 0) rc = ms_gpu_stream_open(device, &m->stream, err);
    if (rc >= 0 &&
        !(l.staging = ms_gpu_host_alloc(m->stream, STAGING_BYTES, 1, "weights being sent", err)))
        rc = -MSIM_E_MEMORY;
    if (rc >= 0 && !(m->storage = ms_gpu_alloc(m->stream, l.used, 1, "weights", err)))
        rc = -MSIM_E_MEMORY;
    if (rc >= 0) {
        l.base = m->storage;
        l.stream = m->stream;
        l.used = 0;
        lay_out(&l, m, weights);
        rc = l.rc;
    }
    if (l.staging) ms_gpu_host_free(m->stream, l.staging);
    if (rc < 0)
        ms_gpu_model_close(m);
    else
        *out = m;
    return rc;
}

void ms_gpu_model_close(ms_gpu_model *model) {
    if (!model) return;
    if (model->storage) ms_gpu_free(model->stream, model->storage);
    ms_gpu_stream_close(model->stream);
    ms_free(model);
}
