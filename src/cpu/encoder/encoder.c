/* The forward pass on the CPU: see cpu/encoder/encoder.h. docs/MODEL.md defines every step.
 *
 * Each layer has two stages with a barrier between them. In `rows`, a block of rows goes through
 * everything that is local to a row (output projection and residual, norm, feed-forward, next norm,
 * q/k/v); its intermediate values never leave the L2 cache of one worker. In `attention`, an item
 * is a sequence, a head and a block of queries. The size of blocks depends on the number of
 * threads. That never changes bits, because the arithmetic of a row does not depend on its
 * block. */
#include "cpu/encoder/encoder.h"
#include "base/clock.h"
#include "base/mem.h"
#include <math.h>

enum {
    BLOCK_ROWS = 96, /* three scratch matrices of 512 columns of f32: 576 KiB, within a common
                         * L2 */
    FF_CHUNK = MS_FF_CHUNK,
    ROW_PAD = 16,  /* elements behind each scratch row, so that rows do not fall into the same
                         * cache sets */
    POOL_COLS = 64 /* columns of one pooling item */
};

/* One worker's own memory. */
typedef struct {
    void *norm;  /* operand [block_rows, dim + pad] */
    void *act;   /* operand [block_rows, FF_CHUNK + pad]; f32 at int8, on its way into codes */
    float *part; /* f32     [block_rows, inner + pad]: one of q, k, v */
    void *attend;
    ms_int8_rows norm_codes, act_codes; /* norm and act in codes; only at int8 */
    double seconds[MSIM_STAGE_COUNT];   /* spent so far */
} worker_scratch;

struct ms_cpu_encoder {
    const ms_cpu_model *model; /* borrowed */
    ms_pool *pool;             /* borrowed */
    size_t max_tokens, max_seqs, block_rows;
    float *cos, *sin;        /* owned: [max_tokens, 16] */
    float *x;                /* owned: [max_tokens, dim], the residual stream */
    void *q, *heads;         /* owned: operand [max_tokens, inner] */
    ms_keys keys;            /* owned k and v */
    size_t *key_row;         /* owned: [max_seqs], first row of each sequence in the keys */
    int64_t *first_item;     /* owned: [max_seqs + 1], attention items before each sequence */
    worker_scratch *workers; /* owned: [threads] */
    void *scratch;           /* owned: what the workers point into */
    ms_tap_fn tap;
    void *tap_arg;
};

/* What a stage needs beyond the encoder. */
typedef struct {
    ms_cpu_encoder *e;
    const ms_batch *batch;
    size_t layer, n_blocks;
    const float *weights; /* of the classes of tokens, or NULL: the mean */
    float *rows;          /* [n_tokens, dim]: where the final rows go */
    float *out;           /* [n_seq, dim] */
} stage;

static void tap(const ms_cpu_encoder *e, int what, size_t layer, size_t first, size_t n,
                const void *data, size_t stride) {
    if (e->tap) e->tap(e->tap_arg, what, layer, first, n, data, stride);
}

/* Count the time since *began as a stage's; the next part begins now. A part lasts tens of
 * microseconds, a reading some tens of nanoseconds. */
static void lap(worker_scratch *w, int stage_id, double *began) {
    double now = ms_clock_now();
    w->seconds[stage_id] += now - *began;
    *began = now;
}

static size_t element_bytes(const ms_cpu_encoder *e) {
    return e->model->kernels->operand_bytes[e->model->precision];
}

/* ---- Linear layers ---- */

/* Rows as input of products: operands, and at int8 also the codes of the matrices that are stored
 * in codes. */
typedef struct {
    const void *rows;
    size_t stride;
    const ms_int8_rows *codes;
} input;

/* p's columns from `col` of its matrix and inputs from `in` on: p says m, n, k, destination,
 * epilogue. */
static void linear(const ms_cpu_encoder *e, input a, const ms_cpu_panels *w, size_t col, size_t in,
                   ms_product p) {
    const ms_cpu_model *m = e->model;
    size_t cols = w->scale ? MS_INT8_COLS : m->kernels->panel_cols,
           bytes = w->scale ? 1 : element_bytes(e);
    p.w = (const char *)w->data + (col * w->k + in * cols) * bytes;
    p.w_stride = cols * w->k;
    if (!w->scale) {
        p.a = a.rows;
        p.a_stride = a.stride;
        p.precision = m->precision;
        m->kernels->product(&p);
        return;
    }
    p.a = a.codes->codes;
    p.a_stride = a.codes->stride;
    p.a_scale = a.codes->scale;
    p.a_low = a.codes->low;
    p.w_scale = w->scale + col;
    p.w_sum = w->sums + in / MS_FF_CHUNK * w->n + col;
    p.precision = MSIM_PRECISION_INT8;
    m->int8->product(&p);
}

/* Norm of n rows of x. */
static input norm_input(const ms_cpu_encoder *e, worker_scratch *w, const float *scale,
                        size_t first, size_t n) {
    const ms_cpu_model *m = e->model;
    input to = {.rows = w->norm, .stride = m->dim + ROW_PAD, .codes = &w->norm_codes};
    m->kernels->norm(w->norm, to.stride, e->x + first * m->dim, scale, n, m->dim, m->precision);
    if (m->int8) m->int8->quantise(&w->norm_codes, w->norm, element_bytes(e), to.stride, n, m->dim);
    return to;
}

/* ---- The row stage ---- */

static void embed_rows(const stage *s, size_t first, size_t n) {
    const ms_cpu_model *m = s->e->model;
    for (size_t i = first; i < first + n; i++)
        memcpy(s->e->x + i * m->dim, m->token_emb + (size_t)s->batch->ids[i] * m->dim,
               m->dim * sizeof *s->e->x);
}

/* x += Wo heads */
static void attention_output(const stage *s, const ms_cpu_block *b, size_t first, size_t n) {
    const ms_cpu_encoder *e = s->e;
    const ms_cpu_model *m = e->model;
    input heads = {.rows = (const char *)e->heads + first * m->inner * element_bytes(e),
                   .stride = m->inner};
    tap(e, MS_TAP_HEADS, s->layer - 1, first, n, heads.rows, m->inner);
    linear(e, heads, &b->wo, 0, 0,
           (ms_product){.dst = e->x + first * m->dim,
                        .dst_stride = m->dim,
                        .m = n,
                        .n = m->dim,
                        .k = m->inner,
                        .epilogue = MS_EPILOGUE_ADD});
    tap(e, MS_TAP_MIDDLE, s->layer - 1, first, n, e->x + first * m->dim, m->dim);
}

/* x += W2 gelu(W1 norm(x) + b1) + b2, FF_CHUNK columns of the middle at a time: both halves stay in
 * L2. */
static void feed_forward(const stage *s, const ms_cpu_block *b, worker_scratch *w, size_t first,
                         size_t n, double *began) {
    const ms_cpu_encoder *e = s->e;
    const ms_cpu_model *m = e->model;
    input h = norm_input(e, w, b->ff_scale, first, n);
    lap(w, MSIM_STAGE_NORM, began);
    input middle = {.rows = w->act, .stride = FF_CHUNK + ROW_PAD, .codes = &w->act_codes};
    tap(e, MS_TAP_FF_NORM, s->layer - 1, first, n, h.rows, h.stride);
    for (size_t f = 0; f < m->ff; f += FF_CHUNK) {
        size_t chunk = m->ff - f < FF_CHUNK ? m->ff - f : FF_CHUNK;
        linear(e, h, &b->w1, f, 0,
               (ms_product){.bias = b->b1 + f,
                            .dst = w->act,
                            .dst_stride = middle.stride,
                            .m = n,
                            .n = chunk,
                            .k = m->dim,
                            .epilogue = MS_EPILOGUE_GELU});
        if (f == 0) tap(e, MS_TAP_GELU, s->layer - 1, first, n, middle.rows, middle.stride);
        if (m->int8)
            m->int8->quantise(&w->act_codes, w->act, sizeof(float), middle.stride, n, chunk);
        linear(e, middle, &b->w2, 0, f,
               (ms_product){.bias = f == 0 ? b->b2 : NULL,
                            .dst = e->x + first * m->dim,
                            .dst_stride = m->dim,
                            .m = n,
                            .n = m->dim,
                            .k = chunk,
                            .epilogue = MS_EPILOGUE_ADD});
    }
    lap(w, MSIM_STAGE_FEED_FORWARD, began);
}

/* The sequence that holds a token row. */
static size_t sequence_of(const ms_batch *batch, size_t row) {
    size_t lo = 0, hi = (size_t)batch->n_seq;
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if ((size_t)batch->starts[mid] <= row)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* Store one of q, k, v for rows first..first+n, one sequence after the other. */
static void store_heads(const stage *s, int part, const float *src, size_t stride, size_t first,
                        size_t n) {
    ms_cpu_encoder *e = s->e;
    const ms_cpu_model *m = e->model;
    for (size_t row = first, seq = sequence_of(s->batch, first); row < first + n; seq++) {
        size_t begin = (size_t)s->batch->starts[seq], end = (size_t)s->batch->starts[seq + 1];
        size_t stop = end < first + n ? end : first + n;
        if (stop <= row) continue; /* an empty sequence */
        ms_heads h = {.src = src + (row - first) * stride,
                      .src_stride = stride,
                      .n_rows = stop - row,
                      .cos = e->cos + (row - begin) * MS_ROTARY_PAIRS,
                      .sin = e->sin + (row - begin) * MS_ROTARY_PAIRS,
                      .heads = m->heads,
                      .first_position = row - begin,
                      .first_row = e->key_row[seq],
                      .precision = m->precision};
        if (part == 0)
            m->kernels->store_q(&h, (char *)e->q + row * m->inner * element_bytes(e), m->inner);
        if (part == 1) m->kernels->store_k(&h, &e->keys);
        if (part == 2) m->kernels->store_v(&h, &e->keys);
        row = stop;
    }
}

static void query_key_value(const stage *s, const ms_cpu_block *b, worker_scratch *w, size_t first,
                            size_t n, double *began) {
    const ms_cpu_encoder *e = s->e;
    const ms_cpu_model *m = e->model;
    const ms_cpu_panels *weights[3] = {&b->wq, &b->wk, &b->wv};
    size_t stride = m->inner + ROW_PAD;
    input h = norm_input(e, w, b->attn_scale, first, n);
    lap(w, MSIM_STAGE_NORM, began);
    tap(e, MS_TAP_ATTN_NORM, s->layer, first, n, h.rows, h.stride);
    for (int part = 0; part < 3; part++) {
        linear(e, h, weights[part], 0, 0,
               (ms_product){.dst = w->part,
                            .dst_stride = stride,
                            .m = n,
                            .n = m->inner,
                            .k = m->dim,
                            .epilogue = MS_EPILOGUE_STORE});
        tap(e, MS_TAP_Q + part, s->layer, first, n, w->part, stride);
        store_heads(s, part, w->part, stride, first, n);
    }
    lap(w, MSIM_STAGE_PROJECTION, began);
}

/* Everything between two attentions for one block of rows: the end of block layer - 1 and the
 * beginning of `layer`. */
static void row_item(void *arg, int64_t item, int worker) {
    const stage *s = arg;
    const ms_cpu_encoder *e = s->e;
    const ms_cpu_model *m = e->model;
    worker_scratch *w = &e->workers[worker];
    size_t tile = m->kernels->tile_rows, tokens = (size_t)s->batch->n_tokens,
           n_tiles = (tokens + tile - 1) / tile;
    size_t first = (size_t)item * n_tiles / s->n_blocks * tile,
           end = ((size_t)item + 1) * n_tiles / s->n_blocks * tile;
    size_t n = (end < tokens ? end : tokens) - first;
    double began = ms_clock_now();
    if (s->layer == 0) {
        embed_rows(s, first, n);
        lap(w, MSIM_STAGE_NORM, &began);
    } else {
        attention_output(s, &m->block[s->layer - 1], first, n);
        lap(w, MSIM_STAGE_PROJECTION, &began);
        feed_forward(s, &m->block[s->layer - 1], w, first, n, &began);
    }
    tap(e, MS_TAP_RESIDUAL, s->layer, first, n, e->x + first * m->dim, m->dim);
    if (s->layer < m->depth) {
        query_key_value(s, &m->block[s->layer], w, first, n, &began);
    } else {
        float *rows = s->rows + first * m->dim;
        m->kernels->norm(rows, m->dim, e->x + first * m->dim, m->final_scale, n, m->dim,
                         MSIM_PRECISION_F32);
        lap(w, MSIM_STAGE_NORM, &began);
        tap(e, MS_TAP_FINAL, s->layer, first, n, rows, m->dim);
    }
}

/* ---- The attention stage ---- */

static void attention_item(void *arg, int64_t item, int worker) {
    const stage *s = arg;
    const ms_cpu_encoder *e = s->e;
    const ms_cpu_model *m = e->model;
    size_t lo = 0, hi = (size_t)s->batch->n_seq, most = m->kernels->attend_rows,
           bytes = element_bytes(e);
    double began = ms_clock_now();
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (e->first_item[mid] <= item)
            lo = mid;
        else
            hi = mid;
    }
    size_t start = (size_t)s->batch->starts[lo], length = (size_t)s->batch->starts[lo + 1] - start;
    size_t blocks = (length + most - 1) / most, local = (size_t)(item - e->first_item[lo]);
    size_t head = local / blocks, first = local % blocks * most;
    size_t at = ((start + first) * m->inner + head * MS_HEAD_DIM) * bytes;
    m->kernels->attend(&(ms_attend){.q = (const char *)e->q + at,
                                    .q_stride = m->inner,
                                    .keys = &e->keys,
                                    .head = head,
                                    .first_row = e->key_row[lo],
                                    .n_keys = length,
                                    .dst = (char *)e->heads + at,
                                    .dst_stride = m->inner,
                                    .scratch = e->workers[worker].attend,
                                    .n_query = length - first < most ? length - first : most,
                                    .precision = m->precision});
    lap(&e->workers[worker], MSIM_STAGE_ATTENTION, &began);
}

/* ---- Pooling ---- */

/* One sequence's weighted mean of some columns, in double, tokens in order. */
static void pool_item(void *arg, int64_t item, int worker) {
    const stage *s = arg;
    double began = ms_clock_now();
    size_t dim = s->e->model->dim, per_seq = (dim + POOL_COLS - 1) / POOL_COLS;
    size_t seq = (size_t)item / per_seq, first = (size_t)item % per_seq * POOL_COLS;
    size_t n = dim - first < POOL_COLS ? dim - first : POOL_COLS;
    double sum[POOL_COLS] = {0}, weight_sum = 0.0;
    for (int64_t t = s->batch->starts[seq]; t < s->batch->starts[seq + 1]; t++) {
        int32_t id = s->batch->ids[t];
        double weight = s->weights ? (double)ms_class_weight(s->batch->classes, s->weights, id)
                                   : 1.0;
        const float *row = s->rows + (size_t)t * dim + first;
        for (size_t j = 0; j < n; j++) sum[j] += weight * (double)row[j];
        weight_sum += weight;
    }
    float least = s->weights ? 1e-6f : 1e-9f,
          divisor = (float)weight_sum > least ? (float)weight_sum : least;
    for (size_t j = 0; j < n; j++) s->out[seq * dim + first + j] = (float)sum[j] / divisor;
    lap(&s->e->workers[worker], MSIM_STAGE_POOLING, &began);
}

/* ---- A whole pass ---- */

/* Rows of keys and attention items of every sequence. */
static int64_t plan_attention(ms_cpu_encoder *e, const ms_batch *batch) {
    size_t row = 0, most = e->model->kernels->attend_rows;
    e->first_item[0] = 0;
    for (int64_t i = 0; i < batch->n_seq; i++) {
        size_t length = (size_t)(batch->starts[i + 1] - batch->starts[i]);
        e->key_row[i] = row;
        row += (length + MS_KEY_GROUP - 1) / MS_KEY_GROUP * MS_KEY_GROUP;
        e->first_item[i + 1] = e->first_item[i] +
                               (int64_t)((length + most - 1) / most * e->model->heads);
    }
    return e->first_item[batch->n_seq];
}

/* Blocks of at most block_rows rows, as many for each thread and of like size. */
static size_t plan_blocks(const ms_cpu_encoder *e, size_t tokens) {
    size_t tile = e->model->kernels->tile_rows, threads = (size_t)ms_pool_size(e->pool);
    size_t n_tiles = (tokens + tile - 1) / tile, n = (tokens + e->block_rows - 1) / e->block_rows;
    n = (n + threads - 1) / threads * threads;
    return n < n_tiles ? n : n_tiles;
}

static void run(ms_cpu_encoder *e, const ms_batch *batch, const float *class_weights, float *rows,
                float *out) {
    stage s = {.e = e, .batch = batch, .weights = class_weights, .rows = rows, .out = out};
    int64_t n_items = plan_attention(e, batch);
    s.n_blocks = plan_blocks(e, (size_t)batch->n_tokens);
    for (s.layer = 0; s.layer <= e->model->depth; s.layer++) {
        ms_pool_run(e->pool, (int64_t)s.n_blocks, row_item, &s);
        if (s.layer < e->model->depth) ms_pool_run(e->pool, n_items, attention_item, &s);
    }
    if (out)
        ms_pool_run(e->pool, batch->n_seq * (int64_t)((e->model->dim + POOL_COLS - 1) / POOL_COLS),
                    pool_item, &s);
}

void ms_cpu_encoder_embed(ms_cpu_encoder *e, const ms_batch *batch, const float *class_weights,
                          float *out) {
    run(e, batch, class_weights, e->x, out); /* the final norm works in place */
}

void ms_cpu_encoder_embed_tokens(ms_cpu_encoder *e, const ms_batch *batch, float *out) {
    run(e, batch, NULL, out, NULL);
}

void ms_cpu_encoder_stage_seconds(const ms_cpu_encoder *e, double *out) {
    for (int i = 0; i < ms_pool_size(e->pool); i++)
        for (int j = 0; j < MSIM_STAGE_COUNT; j++) out[j] += e->workers[i].seconds[j];
}

void ms_cpu_encoder_set_tap(ms_cpu_encoder *e, ms_tap_fn fn, void *arg) {
    e->tap = fn;
    e->tap_arg = arg;
}

/* ---- Open and close ---- */

/* The angle is one f32 product, as in the original; its cosine and sine are rounded from double. */
static void fill_rotary(ms_cpu_encoder *e) {
    for (size_t p = 0; p < e->max_tokens; p++)
        for (size_t j = 0; j < MS_ROTARY_PAIRS; j++) {
            float angle = (float)p * e->model->inv_freq[j];
            e->cos[p * MS_ROTARY_PAIRS + j] = (float)cos((double)angle);
            e->sin[p * MS_ROTARY_PAIRS + j] = (float)sin((double)angle);
        }
}

static void *alloc_matrix(size_t rows, size_t cols, size_t item_bytes, const char *what,
                          msim_error *err) {
    size_t n;
    if (ms_mul_size(rows, cols, &n)) return ms_alloc(n, item_bytes, what, err);
    ms_fail(err, MSIM_E_MEMORY, "out of memory: %s: %zu x %zu elements", what, rows, cols);
    return NULL;
}

static size_t round_up(size_t n) { return (n + MS_ALIGN - 1) / MS_ALIGN * MS_ALIGN; }

/* Sizes here are products of a model's width and small constants: the model itself is larger. */
static int open_workers(ms_cpu_encoder *e, msim_error *err) {
    const ms_cpu_model *m = e->model;
    size_t threads = (size_t)ms_pool_size(e->pool), bytes = element_bytes(e), rows = e->block_rows;
    size_t norm = round_up(rows * (m->dim + ROW_PAD) * bytes);
    size_t act = round_up(rows * (FF_CHUNK + ROW_PAD) * (m->int8 ? sizeof(float) : bytes));
    size_t part = round_up(rows * (m->inner + ROW_PAD) * sizeof(float));
    size_t attend = round_up(m->kernels->attend_scratch_bytes);
    size_t norm_codes = m->int8 ? round_up(rows * (m->dim + ROW_PAD)) : 0;
    size_t act_codes = m->int8 ? round_up(rows * (FF_CHUNK + ROW_PAD)) : 0;
    size_t scales = m->int8 ? round_up(4 * rows * sizeof(float)) : 0; /* scale and low of both */
    size_t each = norm + act + part + attend + norm_codes + act_codes + scales;
    e->workers = ms_alloc(threads, sizeof *e->workers, "workers", err);
    e->scratch = alloc_matrix(threads, each, 1, "workers' scratch", err);
    if (!e->workers || !e->scratch) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < threads; i++) {
        char *at = (char *)e->scratch + i * each, *codes = at + norm + act + part + attend;
        float *scale = (float *)(void *)(codes + norm_codes + act_codes);
        e->workers[i] = (worker_scratch){.norm = at,
                                         .act = at + norm,
                                         .part = (float *)(void *)(at + norm + act),
                                         .attend = at + norm + act + part};
        if (!m->int8) continue;
        e->workers[i].norm_codes =
            (ms_int8_rows){codes, m->dim + ROW_PAD, scale, scale + rows, m->int8->most};
        e->workers[i].act_codes = (ms_int8_rows){codes + norm_codes, FF_CHUNK + ROW_PAD,
                                                 scale + 2 * rows, scale + 3 * rows, m->int8->most};
    }
    return MSIM_OK;
}

int ms_cpu_encoder_open(const ms_cpu_model *model, ms_pool *pool, const msim_options *options,
                        ms_cpu_encoder **out, msim_error *err) {
    ms_cpu_encoder *e = ms_alloc(1, sizeof *e, "encoder", err);
    if (!e) return -MSIM_E_MEMORY;
    size_t tile = model->kernels->tile_rows,
           bytes = model->kernels->operand_bytes[model->precision], pad, key_rows;
    e->model = model;
    e->pool = pool;
    e->max_tokens = (size_t)options->max_batch_tokens;
    e->max_seqs = (size_t)options->max_batch_seqs;
    e->block_rows = BLOCK_ROWS / tile * tile;
    /* Each sequence wastes less than a group of rows, and only sequences that have tokens do. */
    pad = (e->max_seqs < e->max_tokens ? e->max_seqs : e->max_tokens) * (MS_KEY_GROUP - 1);
    key_rows = (e->max_tokens + pad + MS_KEY_GROUP - 1) / MS_KEY_GROUP * MS_KEY_GROUP;
    e->keys.rows = key_rows;
    int ok =
        (e->cos =
             alloc_matrix(e->max_tokens, MS_ROTARY_PAIRS, sizeof *e->cos, "rotary table", err)) &&
        (e->sin =
             alloc_matrix(e->max_tokens, MS_ROTARY_PAIRS, sizeof *e->sin, "rotary table", err)) &&
        (e->x = alloc_matrix(e->max_tokens, model->dim, sizeof *e->x, "residual stream", err)) &&
        (e->q = alloc_matrix(e->max_tokens, model->inner, bytes, "queries", err)) &&
        (e->heads = alloc_matrix(e->max_tokens, model->inner, bytes, "attention output", err)) &&
        (e->keys.k = alloc_matrix(key_rows, model->inner, bytes, "keys", err)) &&
        (e->keys.v = alloc_matrix(key_rows, model->inner, bytes, "values", err)) &&
        (e->key_row = ms_alloc(e->max_seqs, sizeof *e->key_row, "sequences", err)) &&
        (e->first_item = ms_alloc(e->max_seqs + 1, sizeof *e->first_item, "sequences", err)) &&
        open_workers(e, err) >= 0;
    if (!ok) {
        ms_cpu_encoder_close(e);
        return -MSIM_E_MEMORY;
    }
    fill_rotary(e);
    *out = e;
    return MSIM_OK;
}

void ms_cpu_encoder_close(ms_cpu_encoder *e) {
    if (!e) return;
    ms_free(e->cos);
    ms_free(e->sin);
    ms_free(e->x);
    ms_free(e->q);
    ms_free(e->heads);
    ms_free(e->keys.k);
    ms_free(e->keys.v);
    ms_free(e->key_row);
    ms_free(e->first_item);
    ms_free(e->workers);
    ms_free(e->scratch);
    ms_free(e);
}
