/* The forward pass as launches: kernels/encoder/encoder.h; docs/MODEL.md defines every step. The
 * host never waits between them.
 *
 * Buffers of the device, in one block, serve several steps each, which keeps what follows in the L2
 * cache:
 *   x        f32  [max_tokens, dim]              the residual stream; at last the final rows
 *   narrow   bf16 [max_tokens, max(dim, inner)]  norm's result; heads, once q, k and v are made
 *   wide     bf16 [max_tokens, 3 inner]          q, k, v; then gelu's result, a chunk of rows;
 *                                                then pooling's sums
 *   inputs   starts, tiles, ids and positions, uploaded in one copy
 *   pooled   [max_seqs, dim]; and the rotary tables
 * One copy up and one down a batch, from and to pinned memory of its slot. */
#include "kernels/encoder/encoder.h"
#include "base/mem.h"
#include "kernels/encoder/project.h"
#include <assert.h>
#include <math.h>

enum {
    FF_BYTES = 32 << 20, /* gelu's result of a chunk of rows: read back from L2 where that has 40 MB
                          * or more. 8,192 rows at ff 2,048 give the products enough tiles to fill
                          * such a device several times over */
    TILE_ROWS = 128,     /* chunks of rows are multiples of this: no product gets a partial tile but
                          * at the end */
    SAMPLE_EVERY = 16,   /* batches of which one has its stages timed: that takes 6 events a block,
                          * some percent of its time */
    MARKS_BLOCK = 6,
    MARKS_MORE = 3,
    ALIGN = 256
};

/* Where a batch's inputs lie within their buffer: bytes. */
typedef struct {
    size_t starts, tiles, ids, positions, n_bytes;
} input_layout;

/* What one batch under way needs for itself. */
typedef struct {
    unsigned char *inputs;             /* owned, pinned: [inputs_bytes] */
    float *results;                    /* owned, pinned: [result_rows, dim] */
    ms_gpu_event *begin, *end, *ready; /* owned: before the first kernel, after the last, after the
                                        * download */
    float *out;                        /* the caller's: [n_seq, dim] */
    int64_t n_tokens, n_seq;
    bool is_sampled;
} batch_slot;

struct ms_gpu_encoder {
    const ms_gpu_model *model;   /* borrowed */
    ms_gpu_stream *stream;       /* borrowed */
    ms_gpu_projector *projector; /* owned */
    int64_t max_tokens, max_seqs, ff_rows, result_rows;
    size_t inputs_bytes;
    int32_t *order; /* owned: [max_seqs], sequences for the attention, longest first */
    void *storage;  /* owned: device memory, what follows */
    float *x, *pooled, *cosines, *sines;
    ms_bf16 *narrow;
    void *wide;
    unsigned char *inputs;
    batch_slot slots[MSIM_BATCHES_UNDER_WAY];
    int oldest, n_under_way;
    ms_gpu_event **marks;      /* owned: [n_marks], ends of stages of the sampled batch */
    unsigned char *mark_stage; /* owned: [n_marks] */
    int64_t n_marks, marks_used, n_batches;
    double share[MSIM_STAGE_COUNT], seconds[MSIM_STAGE_COUNT];
    ms_gpu_tap_fn tap;
    void *tap_arg;
};

/* One pass over a batch whose inputs are in device memory. */
typedef struct {
    ms_gpu_encoder *e;
    const int32_t *ids, *positions;
    const int64_t *starts;
    const ms_gpu_query_tile *tiles;
    int64_t n_tokens, n_seq, n_tiles;
    bool is_sampled;
    msim_error *err;
} forward_pass;

/* ---- What looks at a pass: stages' ends, and taps ---- */

static int mark(const forward_pass *p, int stage) {
    ms_gpu_encoder *e = p->e;
    if (!p->is_sampled) return MSIM_OK;
    assert(e->marks_used < e->n_marks);
    e->mark_stage[e->marks_used] = (unsigned char)stage;
    return ms_gpu_event_record(e->marks[e->marks_used++], e->stream, p->err);
}

/* Show rows to the tap: f32, or bf16 widened. Waits; only tests come here. */
static int tap(const forward_pass *p, int what, int64_t layer, int64_t first, int64_t n,
               int64_t cols, const void *device, bool is_bf16) {
    ms_gpu_encoder *e = p->e;
    if (!e->tap || n == 0) return MSIM_OK;
    size_t count = (size_t)(n * cols);
    float *rows = ms_alloc(count, sizeof *rows, "tap", p->err);
    if (!rows) return -MSIM_E_MEMORY;
    int rc = ms_gpu_download(e->stream, rows, device,
                             count * (is_bf16 ? sizeof(ms_bf16) : sizeof *rows), p->err);
    if (rc >= 0) rc = ms_gpu_sync(e->stream, p->err);
    for (size_t i = count; is_bf16 && i-- > 0;) { /* from the end: the wider number does not reach
                                                   * one still to be read */
        ms_bf16 narrow;
        memcpy(&narrow, (const char *)rows + i * sizeof narrow, sizeof narrow);
        rows[i] = ms_f32_of_bf16(narrow);
    }
    if (rc >= 0) e->tap(e->tap_arg, what, layer, first, n, cols, rows);
    ms_free(rows);
    return rc;
}

static int tap_x(const forward_pass *p, int what, int64_t layer) {
    return tap(p, what, layer, 0, p->n_tokens, p->e->model->dim, p->e->x, false);
}

/* ---- The steps ---- */

/* x += Wo attention(rotary(Wq h), rotary(Wk h), Wv h), h in narrow. */
static int attention_layer(const forward_pass *p, const ms_gpu_block *b, int64_t layer) {
    ms_gpu_encoder *e = p->e;
    const ms_gpu_model *m = e->model;
    int64_t n = p->n_tokens;
    int rc = tap(p, MS_GPU_TAP_ATTN_NORM, layer, 0, n, m->dim, e->narrow, true);
    if (rc >= 0)
        rc = ms_gpu_project(e->projector,
                            &(ms_gpu_gemm){.a = e->narrow,
                                           .w = b->wqkv,
                                           .dst = e->wide,
                                           .m = n,
                                           .n = 3 * m->inner,
                                           .k = m->dim,
                                           .epilogue = MS_GPU_ROTATE,
                                           .cos = e->cosines,
                                           .sin = e->sines,
                                           .positions = p->positions,
                                           .rotated = 2 * m->inner},
                            p->err);
    if (rc >= 0) rc = mark(p, MSIM_STAGE_PROJECTION);
    if (rc >= 0) rc = tap(p, MS_GPU_TAP_QKV, layer, 0, n, 3 * m->inner, e->wide, true);
    if (rc >= 0)
        rc = ms_attend_bf16_cuda(e->stream, e->narrow, e->wide, p->tiles, p->n_tiles, m->heads,
                                 p->err);
    if (rc >= 0) rc = mark(p, MSIM_STAGE_ATTENTION);
    if (rc >= 0) rc = tap(p, MS_GPU_TAP_HEADS, layer, 0, n, m->inner, e->narrow, true);
    if (rc >= 0)
        rc = ms_gpu_project(e->projector,
                            &(ms_gpu_gemm){.a = e->narrow,
                                           .w = b->wo,
                                           .dst = e->x,
                                           .m = n,
                                           .n = m->dim,
                                           .k = m->inner,
                                           .epilogue = MS_GPU_ADD},
                            p->err);
    if (rc >= 0) rc = mark(p, MSIM_STAGE_PROJECTION);
    if (rc >= 0) rc = tap_x(p, MS_GPU_TAP_MIDDLE, layer);
    return rc;
}

/* x += W2 gelu(W1 norm(x) + b1) + b2, some rows at a time. */
static int feed_forward(const forward_pass *p, const ms_gpu_block *b, int64_t layer) {
    ms_gpu_encoder *e = p->e;
    const ms_gpu_model *m = e->model;
    int rc =
        ms_norm_bf16_cuda(e->stream, e->narrow, e->x, b->ff_scale, p->n_tokens, m->dim, p->err);
    if (rc >= 0) rc = mark(p, MSIM_STAGE_NORM);
    if (rc >= 0) rc = tap(p, MS_GPU_TAP_FF_NORM, layer, 0, p->n_tokens, m->dim, e->narrow, true);
    for (int64_t first = 0; rc >= 0 && first < p->n_tokens; first += e->ff_rows) {
        int64_t n = p->n_tokens - first < e->ff_rows ? p->n_tokens - first : e->ff_rows;
        rc = ms_gpu_project(e->projector,
                            &(ms_gpu_gemm){.a = e->narrow + first * m->dim,
                                           .w = b->w1,
                                           .bias = b->b1,
                                           .bias_bf16 = b->b1_bf16,
                                           .dst = e->wide,
                                           .m = n,
                                           .n = m->ff,
                                           .k = m->dim,
                                           .epilogue = MS_GPU_GELU},
                            p->err);
        if (rc >= 0) rc = tap(p, MS_GPU_TAP_GELU, layer, first, n, m->ff, e->wide, true);
        if (rc >= 0)
            rc = ms_gpu_project(e->projector,
                                &(ms_gpu_gemm){.a = e->wide,
                                               .w = b->w2,
                                               .bias = b->b2,
                                               .dst = e->x + first * m->dim,
                                               .m = n,
                                               .n = m->dim,
                                               .k = m->ff,
                                               .epilogue = MS_GPU_ADD},
                                p->err);
    }
    if (rc >= 0) rc = mark(p, MSIM_STAGE_FEED_FORWARD);
    return rc;
}

/* Ids to final rows, in x. */
static int forward(const forward_pass *p) {
    ms_gpu_encoder *e = p->e;
    const ms_gpu_model *m = e->model;
    int64_t n = p->n_tokens;
    int rc = ms_embed_norm_cuda(e->stream, e->narrow, e->x, p->ids, m->token_emb,
                                m->depth ? m->block[0].attn_scale : m->final_scale, n, m->dim,
                                p->err);
    if (rc >= 0) rc = mark(p, MSIM_STAGE_NORM);
    if (rc >= 0) rc = tap_x(p, MS_GPU_TAP_RESIDUAL, 0);
    for (int64_t i = 0; i < m->depth && rc >= 0; i++) {
        rc = attention_layer(p, &m->block[i], i);
        if (rc >= 0) rc = feed_forward(p, &m->block[i], i);
        if (rc >= 0) rc = tap_x(p, MS_GPU_TAP_RESIDUAL, i + 1);
        if (rc >= 0 && i + 1 < m->depth) {
            rc = ms_norm_bf16_cuda(e->stream, e->narrow, e->x, m->block[i + 1].attn_scale, n,
                                   m->dim, p->err);
            if (rc >= 0) rc = mark(p, MSIM_STAGE_NORM);
        }
    }
    if (rc >= 0) rc = ms_norm_f32_cuda(e->stream, e->x, e->x, m->final_scale, n, m->dim, p->err);
    if (rc >= 0) rc = mark(p, MSIM_STAGE_NORM);
    if (rc >= 0) rc = tap_x(p, MS_GPU_TAP_FINAL, m->depth);
    return rc;
}

/* ---- A batch's inputs ---- */

static size_t round_up(size_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

/* Sizes fit: a context has at most 2^30 tokens and 2^24 sequences. */
static input_layout lay_inputs(int64_t n_tokens, int64_t n_seq, int64_t n_tiles) {
    input_layout l = {0};
    l.tiles = round_up((size_t)(n_seq + 1) * sizeof(int64_t));
    l.ids = l.tiles + round_up((size_t)n_tiles * sizeof(ms_gpu_query_tile));
    l.positions = l.ids + round_up((size_t)n_tokens * sizeof(int32_t));
    l.n_bytes = l.positions + round_up((size_t)n_tokens * sizeof(int32_t));
    return l;
}

static int64_t length_of(const ms_batch *batch, int32_t i) {
    return batch->starts[i + 1] - batch->starts[i];
}

/* Longest first: blocks start in the order of their tiles, and a tile's work is its sequence's
 * length, so the last ones to finish are short. Shell's sort: no memory, and a batch that is sorted
 * already costs one look at each. Order never changes bits. */
static void sort_longest_first(int32_t *order, const ms_batch *batch) {
    static const int64_t gaps[] = {1750, 701, 301, 132, 57, 23, 10, 4, 1}; /* Ciura's */
    for (int64_t i = 0; i < batch->n_seq; i++) order[i] = (int32_t)i;
    for (size_t g = 0; g < sizeof gaps / sizeof *gaps; g++)
        for (int64_t i = gaps[g]; i < batch->n_seq; i++) {
            int32_t taken = order[i];
            int64_t j = i;
            for (; j >= gaps[g] && length_of(batch, order[j - gaps[g]]) < length_of(batch, taken);
                 j -= gaps[g])
                order[j] = order[j - gaps[g]];
            order[j] = taken;
        }
}

static int64_t count_tiles(const ms_batch *batch) {
    int64_t n = 0;
    for (int64_t i = 0; i < batch->n_seq; i++)
        n += (batch->starts[i + 1] - batch->starts[i] + MS_GPU_QUERY_ROWS - 1) / MS_GPU_QUERY_ROWS;
    return n;
}

static void fill_inputs(ms_gpu_encoder *e, unsigned char *to, const input_layout *l,
                        const ms_batch *batch) {
    int32_t *positions = (int32_t *)(void *)(to + l->positions);
    ms_gpu_query_tile *tile = (ms_gpu_query_tile *)(void *)(to + l->tiles);
    memcpy(to + l->starts, batch->starts, (size_t)(batch->n_seq + 1) * sizeof *batch->starts);
    memcpy(to + l->ids, batch->ids, (size_t)batch->n_tokens * sizeof *batch->ids);
    sort_longest_first(e->order, batch);
    for (int64_t i = 0; i < batch->n_seq; i++) {
        int64_t start = batch->starts[e->order[i]], end = batch->starts[e->order[i] + 1];
        for (int64_t t = start; t < end; t++) positions[t] = (int32_t)(t - start);
        for (int64_t t = start; t < end; t += MS_GPU_QUERY_ROWS)
            *tile++ = (ms_gpu_query_tile){
                .first = (int32_t)t, .start = (int32_t)start, .end = (int32_t)end};
    }
}

/* ---- Batches ---- */

/* Send the inputs and put everything up to the final rows into the stream. */
static int start(ms_gpu_encoder *e, batch_slot *s, const ms_batch *batch, forward_pass *p,
                 msim_error *err) {
    int64_t n_tiles = count_tiles(batch);
    input_layout l = lay_inputs(batch->n_tokens, batch->n_seq, n_tiles);
    assert(batch->n_tokens <= e->max_tokens && batch->n_seq <= e->max_seqs &&
           l.n_bytes <= e->inputs_bytes);
    fill_inputs(e, s->inputs, &l, batch);
    s->n_tokens = batch->n_tokens;
    s->n_seq = batch->n_seq;
    s->is_sampled = e->n_batches++ % SAMPLE_EVERY == 0;
    if (s->is_sampled) e->marks_used = 0;
    *p = (forward_pass){.e = e,
                        .ids = (const int32_t *)(void *)(e->inputs + l.ids),
                        .n_tokens = batch->n_tokens,
                        .positions = (const int32_t *)(void *)(e->inputs + l.positions),
                        .n_seq = batch->n_seq,
                        .starts = (const int64_t *)(void *)(e->inputs + l.starts),
                        .n_tiles = n_tiles,
                        .tiles = (const ms_gpu_query_tile *)(void *)(e->inputs + l.tiles),
                        .is_sampled = s->is_sampled,
                        .err = err};
    int rc = ms_gpu_upload(e->stream, e->inputs, s->inputs, l.n_bytes, err);
    if (rc >= 0) rc = ms_gpu_event_record(s->begin, e->stream, err);
    if (rc >= 0) rc = forward(p);
    return rc;
}

/* After a failure: pinned memory is not written again before what was put into the stream has read
 * it. */
static int abandon(ms_gpu_encoder *e, int rc) {
    (void)ms_gpu_sync(e->stream, NULL);
    return rc;
}

/* Count the time of a batch that is done; the stages' shares, if it was sampled. */
static void count_time(ms_gpu_encoder *e, const batch_slot *s) {
    double all = ms_gpu_event_seconds(s->begin, s->end), stage[MSIM_STAGE_COUNT] = {0}, sum = 0.0;
    for (int64_t i = 0; s->is_sampled && i < e->marks_used; i++) {
        double t = ms_gpu_event_seconds(i ? e->marks[i - 1] : s->begin, e->marks[i]);
        stage[e->mark_stage[i]] += t > 0.0 ? t : 0.0;
        sum += t > 0.0 ? t : 0.0;
    }
    for (int i = 0; i < MSIM_STAGE_COUNT; i++) {
        if (sum > 0.0) e->share[i] = stage[i] / sum;
        if (all > 0.0) e->seconds[i] += all * e->share[i];
    }
}

int ms_gpu_encoder_submit(ms_gpu_encoder *e, const ms_batch *batch, const float *class_weights,
                          float *out, msim_error *err) {
    if (e->n_under_way == MSIM_BATCHES_UNDER_WAY)
        return ms_fail(err, MSIM_E_LIMIT,
                       "embed: %d batches are under way already; wait for one first",
                       MSIM_BATCHES_UNDER_WAY);
    batch_slot *s = &e->slots[(e->oldest + e->n_under_way) % MSIM_BATCHES_UNDER_WAY];
    size_t n_bytes = (size_t)(batch->n_seq * e->model->dim) * sizeof *out;
    forward_pass p;
    s->out = out;
    if (batch->n_tokens == 0) { /* only empty sequences: zeros, and nothing for the device to do */
        s->n_tokens = 0;
        s->n_seq = batch->n_seq;
        e->n_under_way++;
        return MSIM_OK;
    }
    int rc = start(e, s, batch, &p, err);
    if (rc >= 0)
        rc = ms_pool_cuda(e->stream, e->pooled, e->x, p.ids, p.starts, p.n_seq, p.n_tokens,
                          e->model->dim, batch->classes, class_weights, e->wide, err);
    if (rc >= 0) rc = mark(&p, MSIM_STAGE_POOLING);
    if (rc >= 0) rc = ms_gpu_event_record(s->end, e->stream, err);
    if (rc >= 0) rc = ms_gpu_download(e->stream, s->results, e->pooled, n_bytes, err);
    if (rc >= 0) rc = ms_gpu_event_record(s->ready, e->stream, err);
    if (rc < 0) return abandon(e, rc);
    e->n_under_way++;
    return MSIM_OK;
}

int ms_gpu_encoder_wait(ms_gpu_encoder *e, msim_error *err) {
    if (!e->n_under_way) return ms_fail(err, MSIM_E_ARG, "embed: no batch is under way");
    batch_slot *s = &e->slots[e->oldest];
    size_t n_bytes = (size_t)(s->n_seq * e->model->dim) * sizeof *s->out;
    e->oldest = (e->oldest + 1) % MSIM_BATCHES_UNDER_WAY;
    e->n_under_way--;
    if (s->n_tokens == 0) {
        memset(s->out, 0, n_bytes);
        return MSIM_OK;
    }
    int rc = ms_gpu_event_wait(s->ready, err);
    if (rc < 0) return abandon(e, rc);
    memcpy(s->out, s->results, n_bytes);
    count_time(e, s);
    return MSIM_OK;
}

int ms_gpu_encoder_embed(ms_gpu_encoder *e, const ms_batch *batch, const float *class_weights,
                         float *out, msim_error *err) {
    assert(!e->n_under_way);
    int rc = ms_gpu_encoder_submit(e, batch, class_weights, out, err);
    return rc < 0 ? rc : ms_gpu_encoder_wait(e, err);
}

/* Final rows by way of the slots' pinned memory: one part is copied to the caller while the next
 * one comes. */
static int download_rows(ms_gpu_encoder *e, int64_t n_tokens, float *out, msim_error *err) {
    int64_t dim = e->model->dim, most = e->result_rows;
    int rc = MSIM_OK;
    for (int64_t first = 0, i = 0; rc >= 0 && first < n_tokens + most; first += most, i++) {
        int64_t n = n_tokens - first < most ? n_tokens - first : most;
        batch_slot *next = &e->slots[i % 2], *done = &e->slots[(i + 1) % 2];
        if (n > 0)
            rc = ms_gpu_download(e->stream, next->results, e->x + first * dim,
                                 (size_t)(n * dim) * sizeof *out, err);
        if (rc >= 0 && n > 0) rc = ms_gpu_event_record(next->ready, e->stream, err);
        if (rc < 0 || i == 0) continue;
        int64_t done_first = first - most,
                n_done = n_tokens - done_first < most ? n_tokens - done_first : most;
        rc = ms_gpu_event_wait(done->ready, err);
        if (rc >= 0)
            memcpy(out + done_first * dim, done->results, (size_t)(n_done * dim) * sizeof *out);
    }
    return rc;
}

int ms_gpu_encoder_embed_tokens(ms_gpu_encoder *e, const ms_batch *batch, float *out,
                                msim_error *err) {
    batch_slot *s = &e->slots[0];
    forward_pass p;
    assert(!e->n_under_way);
    if (batch->n_tokens == 0) return MSIM_OK;
    int rc = start(e, s, batch, &p, err);
    if (rc >= 0) rc = ms_gpu_event_record(s->end, e->stream, err);
    if (rc >= 0) rc = download_rows(e, batch->n_tokens, out, err);
    if (rc < 0) return abandon(e, rc);
    count_time(e, s);
    return MSIM_OK;
}

void ms_gpu_encoder_stage_seconds(const ms_gpu_encoder *e, double *out) {
    memcpy(out, e->seconds, sizeof e->seconds);
}

void ms_gpu_encoder_set_tap(ms_gpu_encoder *e, ms_gpu_tap_fn fn, void *arg) {
    e->tap = fn;
    e->tap_arg = arg;
}

void ms_gpu_encoder_set_ff_rows(ms_gpu_encoder *e, int64_t n_rows) {
    if (n_rows < e->ff_rows) e->ff_rows = n_rows;
}

/* ---- Open and close ---- */

/* The next part of the device's block; base NULL: only counting. */
static void *place(unsigned char *base, size_t *used, int64_t n_rows, size_t row_bytes) {
    size_t at = *used, n_bytes, end;
    if (!ms_mul_size((size_t)n_rows, row_bytes, &n_bytes) ||
        !ms_add_size(n_bytes, ALIGN - 1, &n_bytes) ||
        !ms_add_size(at, n_bytes / ALIGN * ALIGN, &end))
        end = SIZE_MAX / 2; /* more than any device has; what is added to it stays so */
    *used = end > SIZE_MAX / 2 ? SIZE_MAX / 2 : end;
    return base ? base + at : NULL;
}

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

/* Bytes of the device's block, and with base the places in it. */
static size_t plan(ms_gpu_encoder *e, unsigned char *base) {
    const ms_gpu_model *m = e->model;
    size_t used = 0, act = (size_t)(e->ff_rows * m->ff) * sizeof(ms_bf16);
    size_t qkv_row = (size_t)(3 * m->inner) * sizeof(ms_bf16),
           pool = ms_pool_scratch_bytes(e->max_tokens, e->max_seqs, m->dim);
    e->x = place(base, &used, e->max_tokens, (size_t)m->dim * sizeof *e->x);
    e->narrow = place(base, &used, e->max_tokens,
                      most((size_t)m->dim, (size_t)m->inner) * sizeof *e->narrow);
    size_t wide_at = used;
    e->wide = place(base, &used, e->max_tokens, qkv_row);
    size_t wide = most(used - wide_at, most(act, pool));
    used = wide_at;
    (void)place(base, &used, 1, wide);
    e->inputs = place(base, &used, 1, e->inputs_bytes);
    e->pooled = place(base, &used, e->max_seqs, (size_t)m->dim * sizeof *e->pooled);
    e->cosines = place(base, &used, e->max_tokens, MS_ROTARY_PAIRS * sizeof *e->cosines);
    e->sines = place(base, &used, e->max_tokens, MS_ROTARY_PAIRS * sizeof *e->sines);
    return used;
}

/* The angle is one f32 product, as in the original; its cosine and sine are rounded from double.
 * Sent by way of a slot's inputs, part by part. */
static int fill_rotary(ms_gpu_encoder *e, msim_error *err) {
    unsigned char *staging = e->slots[0].inputs;
    float *part = (float *)(void *)staging;
    int64_t rows = (int64_t)(e->inputs_bytes / sizeof *part / MS_ROTARY_PAIRS);
    int rc = MSIM_OK;
    for (int64_t first = 0; first < e->max_tokens; first += rows)
        for (int is_sine = 0; is_sine < 2 && rc >= 0; is_sine++) {
            int64_t n = e->max_tokens - first < rows ? e->max_tokens - first : rows;
            for (int64_t i = 0; i < n * MS_ROTARY_PAIRS; i++) {
                float angle = (float)(first + i / MS_ROTARY_PAIRS) *
                              e->model->inv_freq[i % MS_ROTARY_PAIRS];
                part[i] = (float)(is_sine ? sin((double)angle) : cos((double)angle));
            }
            rc = ms_gpu_upload(e->stream,
                               (is_sine ? e->sines : e->cosines) + first * MS_ROTARY_PAIRS, part,
                               (size_t)(n * MS_ROTARY_PAIRS) * sizeof *part, err);
            if (rc >= 0) rc = ms_gpu_sync(e->stream, err);
        }
    return rc;
}

static int open_slot(ms_gpu_encoder *e, batch_slot *s, msim_error *err) {
    size_t result_bytes = (size_t)e->model->dim * sizeof *s->results;
    if (!(s->inputs = ms_gpu_host_alloc(e->stream, e->inputs_bytes, 1, "batch inputs", err)) ||
        !(s->results = ms_gpu_host_alloc(e->stream, (size_t)e->result_rows, result_bytes,
                                         "batch results", err)))
        return err ? -err->code : -MSIM_E_MEMORY;
    int rc = ms_gpu_event_open(e->stream, &s->begin, err);
    if (rc >= 0) rc = ms_gpu_event_open(e->stream, &s->end, err);
    if (rc >= 0) rc = ms_gpu_event_open(e->stream, &s->ready, err);
    return rc;
}

static int open_marks(ms_gpu_encoder *e, msim_error *err) {
    size_t n = (size_t)(e->model->depth * MARKS_BLOCK + MARKS_MORE);
    if (!(e->marks = ms_alloc(n, sizeof(ms_gpu_event *), "events", err)) ||
        !(e->mark_stage = ms_alloc(n, 1, "events", err)))
        return -MSIM_E_MEMORY;
    int rc = MSIM_OK;
    for (e->n_marks = 0; rc >= 0 && e->n_marks < (int64_t)n; e->n_marks++)
        rc = ms_gpu_event_open(e->stream, &e->marks[e->n_marks], err);
    return rc;
}

/* All shapes of a pass, so that none is planned (which takes memory) while embedding. */
static int open_products(ms_gpu_encoder *e, msim_error *err) {
    const ms_gpu_model *m = e->model;
    static const float some_bias = 0.0f;
    static const ms_bf16 some_bf16 = {0};
    const ms_gpu_gemm shapes[] = {
        {.n = 3 * m->inner, .k = m->dim, .epilogue = MS_GPU_ROTATE, .rotated = 2 * m->inner},
        {.n = m->dim, .k = m->inner, .epilogue = MS_GPU_ADD},
        {.n = m->ff,
         .k = m->dim,
         .epilogue = MS_GPU_GELU,
         .bias = &some_bias,
         .bias_bf16 = &some_bf16},
        {.n = m->dim, .k = m->ff, .epilogue = MS_GPU_ADD, .bias = &some_bias},
    };
    int rc = ms_gpu_projector_open(e->stream, MS_GPU_PRODUCT_AUTO, &e->projector, err);
    for (size_t i = 0; rc >= 0 && i < sizeof shapes / sizeof *shapes; i++)
        rc = ms_gpu_projector_plan(e->projector, &shapes[i], err);
    return rc;
}

int ms_gpu_encoder_open(const ms_gpu_model *model, ms_gpu_stream *stream,
                        const msim_options *options, ms_gpu_encoder **out, msim_error *err) {
    ms_gpu_encoder *e = ms_alloc(1, sizeof *e, "encoder", err);
    if (!e) return -MSIM_E_MEMORY;
    assert(ms_gpu_stream_device(stream) == model->device);
    e->model = model;
    e->stream = stream;
    e->max_tokens = options->max_batch_tokens;
    e->max_seqs = options->max_batch_seqs;
    e->result_rows = e->max_seqs;
    int64_t rows = FF_BYTES / ((int64_t)sizeof(ms_bf16) * model->ff) / TILE_ROWS * TILE_ROWS;
    e->ff_rows = rows < TILE_ROWS ? TILE_ROWS : rows;
    if (e->ff_rows > e->max_tokens) e->ff_rows = e->max_tokens;
    /* A sequence's last tile may be partial, and only sequences that have tokens have tiles. */
    int64_t n_tiles = e->max_tokens / MS_GPU_QUERY_ROWS +
                      (e->max_seqs < e->max_tokens ? e->max_seqs : e->max_tokens);
    e->inputs_bytes = lay_inputs(e->max_tokens, e->max_seqs, n_tiles).n_bytes;
    int rc = MSIM_OK;
    if (!(e->order = ms_alloc((size_t)e->max_seqs, sizeof *e->order, "sequences", err)))
        rc = -MSIM_E_MEMORY;
    if (rc >= 0 && !(e->storage = ms_gpu_alloc(stream, plan(e, NULL), 1, "encoder's buffers", err)))
        rc = err ? -err->code : -MSIM_E_MEMORY;
    if (rc >= 0) (void)plan(e, e->storage);
    for (int i = 0; rc >= 0 && i < MSIM_BATCHES_UNDER_WAY; i++)
        rc = open_slot(e, &e->slots[i], err);
    if (rc >= 0) rc = open_marks(e, err);
    if (rc >= 0) rc = open_products(e, err);
    if (rc >= 0) rc = fill_rotary(e, err);
    if (rc < 0)
        ms_gpu_encoder_close(e);
    else
        *out = e;
    return rc;
}

void ms_gpu_encoder_close(ms_gpu_encoder *e) {
    if (!e) return;
    (void)ms_gpu_sync(e->stream, NULL);
    ms_gpu_projector_close(e->projector);
    for (int64_t i = 0; i < e->n_marks; i++) ms_gpu_event_close(e->marks[i]);
    ms_free(e->marks);
    ms_free(e->mark_stage);
    for (int i = 0; i < MSIM_BATCHES_UNDER_WAY; i++) {
        ms_gpu_host_free(e->stream, e->slots[i].inputs);
        ms_gpu_host_free(e->stream, e->slots[i].results);
        ms_gpu_event_close(e->slots[i].begin);
        ms_gpu_event_close(e->slots[i].end);
        ms_gpu_event_close(e->slots[i].ready);
    }
    ms_gpu_free(e->stream, e->storage);
    ms_free(e->order);
    ms_free(e);
}
