/* Packs weights for a kernel level: cpu/encoder/model.h. One layout function runs twice. The first
 * pass has no memory and adds up sizes; the second hands out places and fills them. */
#include "cpu/encoder/model.h"
#include "base/mem.h"
#include "cpu/levels.h"

/* Where the next part goes. base NULL: only counting. */
typedef struct {
    unsigned char *base;
    size_t used;
    bool overflow;
    float *rows; /* a whole matrix as f32 before packing; NULL while counting */
    size_t rows_cap;
} cpu_layout;

static void *take(cpu_layout *l, size_t n_items, size_t item_bytes) {
    size_t n_bytes, end, at = l->used;
    if (!ms_mul_size(n_items, item_bytes, &n_bytes) ||
        !ms_add_size(n_bytes, MS_ALIGN - 1, &n_bytes) ||
        !ms_add_size(at, n_bytes & ~(size_t)(MS_ALIGN - 1), &end)) {
        l->overflow = true;
        return NULL;
    }
    l->used = end;
    return l->base ? l->base + at : NULL;
}

static float weight(ms_tensor t, size_t i, int precision) {
    float x = ms_tensor_get(t, (int64_t)i);
    return precision == MSIM_PRECISION_BF16 ? ms_round_bf16(x) : x;
}

/* A vector as f32 plus `offset`; never rounded to bf16 unless it is a bias. */
static const float *take_vector(cpu_layout *l, ms_tensor t, float offset, int precision) {
    float *out = take(l, (size_t)t.n, sizeof *out);
    for (size_t i = 0; out && i < (size_t)t.n; i++) out[i] = weight(t, i, precision) + offset;
    return out;
}

/* The panels of a matrix [n, k]; `int8`: in codes of the weights as they are stored. */
static ms_cpu_panels take_panels(cpu_layout *l, const ms_cpu_model *m, ms_tensor t, size_t n,
                                 size_t k, bool int8) {
    size_t cols = int8 ? MS_INT8_COLS : m->kernels->panel_cols, padded, count,
           chunks = (k + MS_FF_CHUNK - 1) / MS_FF_CHUNK;
    ms_cpu_panels panels = {.n = n, .k = k};
    if (!ms_add_size(n, cols - 1, &padded) || !ms_mul_size(padded / cols * cols, k, &count)) {
        l->overflow = true;
        return panels;
    }
    if (count > l->rows_cap && !l->base) l->rows_cap = count;
    void *out = take(l, count, int8 ? 1 : m->kernels->operand_bytes[m->precision]);
    float *scale = int8 ? take(l, n, sizeof *scale) : NULL,
          *sums = int8 ? take(l, n * chunks, sizeof *sums) : NULL;
    panels.data = out;
    panels.scale = scale;
    panels.sums = sums;
    if (!out) return panels;
    for (size_t j = 0; j < n * k; j++)
        l->rows[j] = weight(t, j, int8 ? MSIM_PRECISION_F32 : m->precision);
    if (int8)
        ms_int8_pack(out, scale, sums, l->rows, n, k, MS_FF_CHUNK, m->int8->most);
    else
        m->kernels->pack(out, l->rows, n, k, m->precision);
    return panels;
}

static void lay_out(cpu_layout *l, ms_cpu_model *m, const ms_weights *w) {
    int f32 = MSIM_PRECISION_F32;
    m->token_emb = take_vector(l, w->token_emb, 0.0f, f32);
    m->inv_freq = take_vector(l, w->inv_freq, 0.0f, f32);
    m->final_scale = take_vector(l, w->final_gamma, 1.0f, f32);
    for (size_t i = 0; i < m->depth; i++) {
        const ms_block_weights *b = &w->block[i];
        m->block[i].attn_scale = take_vector(l, b->attn_gamma, 1.0f, f32);
        m->block[i].ff_scale = take_vector(l, b->ff_gamma, 1.0f, f32);
        m->block[i].b1 = take_vector(l, b->b1, 0.0f, m->precision);
        m->block[i].b2 = take_vector(l, b->b2, 0.0f, m->precision);
        m->block[i].wq = take_panels(l, m, b->wq, m->inner, m->dim, m->int8);
        m->block[i].wk = take_panels(l, m, b->wk, m->inner, m->dim, m->int8);
        m->block[i].wv = take_panels(l, m, b->wv, m->inner, m->dim, false);
        m->block[i].wo = take_panels(l, m, b->wo, m->dim, m->inner, false);
        m->block[i].w1 = take_panels(l, m, b->w1, m->ff, m->dim, m->int8);
        m->block[i].w2 = take_panels(l, m, b->w2, m->dim, m->ff, m->int8);
    }
}

int ms_cpu_model_open(const ms_cpu_kernels *kernels, const ms_weights *weights, int precision,
                      ms_cpu_model **out, msim_error *err) {
    if (precision == MSIM_PRECISION_F32 && !weights->all_f32)
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "precision: expected bf16 for weights stored in bf16, got f32");
    if (weights->dim < 16 || weights->dim % 16)
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "model width: expected a multiple of 16 on the CPU, got %lld",
                       (long long)weights->dim);
    const ms_int8_kernels *int8 =
        precision == MSIM_PRECISION_INT8 ? ms_int8_kernels_get(kernels->isa) : NULL;
    if (precision == MSIM_PRECISION_INT8 && !int8)
        return ms_fail(
            err, MSIM_E_UNSUPPORTED,
            "precision: expected level avx2, or a CPU with AVX512_VNNI, for int8, got level %s",
            kernels->name);
    if (precision == MSIM_PRECISION_INT8 &&
        (weights->ff > MS_INT8_MAX_K || weights->inner > MS_INT8_MAX_K))
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "model width: expected at most %d inputs of a layer for int8, got %lld",
                       MS_INT8_MAX_K,
                       (long long)(weights->ff > weights->inner ? weights->ff : weights->inner));
    ms_cpu_model *m = ms_alloc(1, sizeof *m, "model", err);
    if (!m) return -MSIM_E_MEMORY;
    m->kernels = kernels;
    m->int8 = int8;
    m->precision = int8 ? MSIM_PRECISION_BF16 : precision;
    m->dim = (size_t)weights->dim;
    m->depth = (size_t)weights->depth;
    m->heads = (size_t)weights->heads;
    m->inner = (size_t)weights->inner;
    m->ff = (size_t)weights->ff;
    m->vocab = (size_t)weights->vocab;
    cpu_layout l = {0};
    lay_out(&l, m, weights);
    int rc = l.overflow ? ms_fail(err, MSIM_E_MEMORY, "model: packed weights do not fit in memory")
                        : MSIM_OK;
    if (rc >= 0) {
        m->storage = ms_alloc(l.used, 1, "packed weights", err);
        l.rows = ms_alloc(l.rows_cap, sizeof *l.rows, "weights being packed", err);
        if (!m->storage || !l.rows) rc = -MSIM_E_MEMORY;
    }
    if (rc >= 0) {
        l.base = m->storage;
        l.used = 0;
        lay_out(&l, m, weights);
        *out = m;
    } else {
        ms_cpu_model_close(m);
    }
    ms_free(l.rows);
    return rc;
}

void ms_cpu_model_close(ms_cpu_model *model) {
    if (!model) return;
    ms_free(model->storage);
    ms_free(model);
}
