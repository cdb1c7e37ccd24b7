/* kernels/encoder/project.h: a table of the shapes seen so far, and for each who computes it. The
 * library gets a shape when it has an algorithm that serves every number of rows and passes a trial
 * against our kernel, on this device and at this shape: the same values within bf16's rounding, and
 * the same bits of a row whatever rows are beside it. Running out of memory is an error and not a
 * reason to choose otherwise, or bits would depend on what else is on the card. docs/GPU.md. */
#include "kernels/encoder/project.h"
#include "base/mem.h"
#include "kernels/encoder/blaslt.h"
#include "model/constants.h"
#include <math.h>

enum { TRIAL_ROWS = 192, TRIAL_FEW = 37, TRIAL_POSITIONS = 64 };

typedef struct {
    int64_t n, k, rotated;
    int epilogue, choice; /* MS_GPU_PRODUCT_OWN or _LIBRARY */
    bool has_bias;
    ms_gpu_blaslt_plan *plan; /* owned; NULL: our kernel */
} planned;

struct ms_gpu_projector {
    ms_gpu_stream *stream;  /* borrowed */
    ms_gpu_blaslt *library; /* owned; NULL: not in use */
    int product;
    planned *shapes; /* owned */
    size_t n_shapes, cap;
};

/* ---- Products by the library ---- */

/* What the kernels behind a product can do: ms_rotate_bf16_cuda knows q, k and v of one width. */
static bool library_fits(const ms_gpu_gemm *g) {
    return g->epilogue != MS_GPU_ROTATE ||
           (g->rotated % (2 * MS_HEAD_DIM) == 0 && g->n == g->rotated / 2 * 3);
}

static int multiply_library(ms_gpu_projector *p, ms_gpu_blaslt_plan *plan, const ms_gpu_gemm *g,
                            msim_error *err) {
    int rc = ms_gpu_blaslt_multiply(plan, g->dst, g->a, g->w, g->bias, g->m, err);
    if (rc >= 0 && g->epilogue == MS_GPU_GELU)
        rc = ms_gelu_bf16_cuda(p->stream, g->dst, g->m * g->n, err);
    if (rc >= 0 && g->epilogue == MS_GPU_ROTATE)
        rc = ms_rotate_bf16_cuda(p->stream, g->dst, g->cos, g->sin, g->positions, g->m,
                                 g->rotated / (2 * MS_HEAD_DIM), err);
    return rc;
}

/* ---- Trial of a plan ---- */

/* Device memory of a trial, in one block; the host's side of what goes in and comes out, in
 * another. */
typedef struct {
    ms_gpu_gemm g;
    size_t in_bytes, out_bytes;
    unsigned char *device, *host; /* owned: inputs, then room for one result; inputs, then three
                                   * results */
} trial;

static size_t round_up(size_t n) { return (n + 255) / 256 * 256; }

/* -1 .. 1, the same on every machine. */
static float next_value(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)*state * 0x1p-31f;
}

static void fill_trial(const trial *t, size_t w_at, size_t bias_at, size_t cos_at, size_t sin_at,
                       size_t positions_at) {
    uint32_t state = 1;
    ms_bf16 *a = (void *)t->host, *w = (void *)(t->host + w_at);
    float *bias = (void *)(t->host + bias_at), *cosine = (void *)(t->host + cos_at),
          *sine = (void *)(t->host + sin_at);
    int32_t *positions = (void *)(t->host + positions_at);
    for (int64_t i = 0; i < TRIAL_ROWS * t->g.k; i++) a[i] = ms_bf16_of_f32(next_value(&state));
    for (int64_t i = 0; i < t->g.n * t->g.k; i++) w[i] = ms_bf16_of_f32(next_value(&state));
    for (int64_t i = 0; i < t->g.n; i++) bias[i] = next_value(&state);
    for (int i = 0; i < TRIAL_POSITIONS * MS_ROTARY_PAIRS; i++) {
        cosine[i] = cosf((float)i);
        sine[i] = sinf((float)i);
    }
    for (int i = 0; i < TRIAL_ROWS; i++) positions[i] = i % TRIAL_POSITIONS;
}

/* Sizes are those of one weight matrix, which lies on the device already, and 192 rows. */
static int open_trial(trial *t, ms_gpu_stream *s, const ms_gpu_gemm *shape, msim_error *err) {
    size_t n = (size_t)shape->n, k = (size_t)shape->k,
           table = TRIAL_POSITIONS * MS_ROTARY_PAIRS * sizeof(float);
    size_t w_at = round_up(TRIAL_ROWS * k * sizeof(ms_bf16)),
           bias_at = w_at + round_up(n * k * sizeof(ms_bf16));
    size_t cos_at = bias_at + round_up(n * sizeof(float)), sin_at = cos_at + table,
           positions_at = sin_at + table;
    *t = (trial){.g = *shape,
                 .in_bytes = positions_at + round_up(TRIAL_ROWS * sizeof(int32_t)),
                 .out_bytes = TRIAL_ROWS * n *
                              (shape->epilogue == MS_GPU_ADD ? sizeof(float) : sizeof(ms_bf16))};
    t->device = ms_gpu_alloc(s, t->in_bytes + t->out_bytes, 1, "trial of a product", err);
    t->host = t->device ? ms_alloc(t->in_bytes + 3 * t->out_bytes, 1, "trial of a product", err)
                        : NULL;
    if (!t->host) return -MSIM_E_MEMORY;
    t->g.a = (void *)t->device;
    t->g.w = (void *)(t->device + w_at);
    t->g.bias = shape->bias ? (void *)(t->device + bias_at) : NULL;
    t->g.cos = (void *)(t->device + cos_at);
    t->g.sin = (void *)(t->device + sin_at);
    t->g.positions = (void *)(t->device + positions_at);
    t->g.dst = t->device + t->in_bytes;
    fill_trial(t, w_at, bias_at, cos_at, sin_at, positions_at);
    return ms_gpu_upload(s, t->device, t->host, t->in_bytes, err);
}

/* m rows by the plan (NULL: by our kernel), as result `slot` of the host. What is not written stays
 * NaN, or 0 at ADD. */
static int run_trial(const trial *t, ms_gpu_projector *p, ms_gpu_blaslt_plan *plan, int64_t m,
                     int slot, msim_error *err) {
    ms_gpu_gemm g = t->g;
    g.m = m;
    int rc = ms_gpu_fill(p->stream, g.dst, g.epilogue == MS_GPU_ADD ? 0 : 0xff, t->out_bytes, err);
    if (rc >= 0)
        rc = plan ? multiply_library(p, plan, &g, err) : ms_gemm_bf16_cuda(p->stream, &g, err);
    if (rc >= 0)
        rc = ms_gpu_download(p->stream, t->host + t->in_bytes + (size_t)slot * t->out_bytes, g.dst,
                             t->out_bytes, err);
    return rc >= 0 ? ms_gpu_sync(p->stream, err) : rc;
}

static float result_at(const trial *t, int slot, int64_t row, int64_t col) {
    const void *at = t->host + t->in_bytes + (size_t)slot * t->out_bytes;
    int64_t i = row * t->g.n + col;
    return t->g.epilogue == MS_GPU_ADD ? ((const float *)at)[i]
                                       : ms_f32_of_bf16(((const ms_bf16 *)at)[i]);
}

/* Result 1 against result 0. Before the last rounding a value differs by two roundings to bf16 and
 * by the order of its sum, and GELU or a rotation stretches that by at most 1.42; with the last
 * ones it is under 5 x 2^-9 of the largest of its row, and the order of 2,048 summands under 2^-8
 * of that, if each of them rounds to the same side. */
static int compare_trial(const trial *t, msim_error *err) {
    for (int64_t i = 0; i < TRIAL_ROWS; i++) {
        float most = 0.0f;
        for (int64_t j = 0; j < t->g.n; j++) most = fmaxf(most, fabsf(result_at(t, 0, i, j)));
        for (int64_t j = 0; j < t->g.n; j++) {
            float ours = result_at(t, 0, i, j), theirs = result_at(t, 1, i, j);
            if (!(fabsf(ours - theirs) <= 0x1p-6f * most))
                return ms_fail(
                    err, MSIM_E_DEVICE,
                    "cuBLASLt: n %lld, k %lld: row %lld, column %lld: expected %g, got %g",
                    (long long)t->g.n, (long long)t->g.k, (long long)i, (long long)j, (double)ours,
                    (double)theirs);
        }
    }
    return MSIM_OK;
}

static int compare_few(const trial *t, int64_t m, msim_error *err) {
    const unsigned char *many = t->host + t->in_bytes + t->out_bytes, *few = many + t->out_bytes;
    if (memcmp(many, few, t->out_bytes / TRIAL_ROWS * (size_t)m) == 0) return MSIM_OK;
    return ms_fail(err, MSIM_E_UNSUPPORTED,
                   "cuBLASLt: n %lld, k %lld: %lld rows: the bits differ from those of %d rows",
                   (long long)t->g.n, (long long)t->g.k, (long long)m, TRIAL_ROWS);
}

static int try_plan(ms_gpu_projector *p, ms_gpu_blaslt_plan *plan, const ms_gpu_gemm *shape,
                    msim_error *err) {
    trial t = {.device = NULL};
    int rc = open_trial(&t, p->stream, shape, err);
    if (rc >= 0) rc = run_trial(&t, p, NULL, TRIAL_ROWS, 0, err);
    if (rc >= 0) rc = run_trial(&t, p, plan, TRIAL_ROWS, 1, err);
    if (rc >= 0) rc = compare_trial(&t, err);
    for (int64_t m = 1; m <= TRIAL_FEW && rc >= 0; m += TRIAL_FEW - 1) {
        rc = run_trial(&t, p, plan, m, 2, err);
        if (rc >= 0) rc = compare_few(&t, m, err);
    }
    ms_gpu_free(p->stream, t.device); /* waits for what reads either block */
    ms_free(t.host);
    return rc;
}

/* ---- The table ---- */

static planned *find(const ms_gpu_projector *p, const ms_gpu_gemm *g) {
    for (size_t i = 0; i < p->n_shapes; i++) {
        planned *s = &p->shapes[i];
        if (s->n == g->n && s->k == g->k && s->epilogue == g->epilogue &&
            s->has_bias == (g->bias != NULL) &&
            (g->epilogue != MS_GPU_ROTATE || s->rotated == g->rotated))
            return s;
    }
    return NULL;
}

/* Ask the library for a plan and try it. MSIM_OK with *out NULL: our kernel is to do it. */
static int choose(ms_gpu_projector *p, const ms_gpu_gemm *shape, ms_gpu_blaslt_plan **out,
                  msim_error *err) {
    ms_gpu_blaslt_plan *plan = NULL;
    msim_error why; /* no error of the caller's while our kernel can do it */
    int result = shape->epilogue == MS_GPU_ADD ? MS_GPU_BLASLT_ADD : MS_GPU_BLASLT_BF16, rc;
    *out = NULL;
    if (!library_fits(shape))
        rc = ms_fail(&why, MSIM_E_UNSUPPORTED,
                     "cuBLASLt: rotation of %lld columns: it is not two thirds of %lld",
                     (long long)shape->rotated, (long long)shape->n);
    else
        rc = ms_gpu_blaslt_plan_open(p->library, shape->n, shape->k, result, shape->bias != NULL,
                                     &plan, &why);
    if (rc >= 0) rc = try_plan(p, plan, shape, &why);
    if (rc >= 0) {
        *out = plan;
        return MSIM_OK;
    }
    ms_gpu_blaslt_plan_close(plan);
    if (p->product != MS_GPU_PRODUCT_LIBRARY && rc != -MSIM_E_MEMORY) return MSIM_OK;
    if (err) *err = why;
    return rc;
}

int ms_gpu_projector_plan(ms_gpu_projector *p, const ms_gpu_gemm *shape, msim_error *err) {
    ms_gpu_blaslt_plan *plan;
    if (!p->library || find(p, shape)) return MSIM_OK;
    int rc = ms_grow((void **)&p->shapes, &p->cap, p->n_shapes + 1, sizeof *p->shapes,
                     "shapes of products", err);
    if (rc >= 0) rc = choose(p, shape, &plan, err);
    if (rc < 0) return rc;
    p->shapes[p->n_shapes++] =
        (planned){.n = shape->n,
                  .k = shape->k,
                  .rotated = shape->rotated,
                  .epilogue = shape->epilogue,
                  .has_bias = shape->bias != NULL,
                  .plan = plan,
                  .choice = plan ? MS_GPU_PRODUCT_LIBRARY : MS_GPU_PRODUCT_OWN};
    return MSIM_OK;
}

int ms_gpu_project(ms_gpu_projector *p, const ms_gpu_gemm *g, msim_error *err) {
    if (g->m == 0) return MSIM_OK;
    int rc = ms_gpu_projector_plan(p, g, err);
    if (rc < 0) return rc;
    const planned *s = find(p, g);
    return s && s->plan ? multiply_library(p, s->plan, g, err)
                        : ms_gemm_bf16_cuda(p->stream, g, err);
}

int ms_gpu_projector_choice(const ms_gpu_projector *p, const ms_gpu_gemm *shape) {
    if (!p->library) return MS_GPU_PRODUCT_OWN;
    const planned *s = find(p, shape);
    return s ? s->choice : MS_GPU_PRODUCT_AUTO;
}

size_t ms_gpu_projector_library(const ms_gpu_projector *p) {
    return p->library ? ms_gpu_blaslt_version(p->library) : 0;
}

/* ---- Open and close ---- */

int ms_gpu_projector_open(ms_gpu_stream *stream, int product, ms_gpu_projector **out,
                          msim_error *err) {
    *out = NULL;
    ms_gpu_projector *p = ms_alloc(1, sizeof *p, "products", err);
    if (!p) return -MSIM_E_MEMORY;
    p->stream = stream;
    p->product = product;
    msim_error why;
    int rc = product == MS_GPU_PRODUCT_OWN ? MSIM_OK
                                           : ms_gpu_blaslt_open(stream, &p->library, &why);
    if (rc < 0 && (product == MS_GPU_PRODUCT_LIBRARY || rc == -MSIM_E_MEMORY)) {
        if (err) *err = why;
        ms_free(p);
        return rc;
    }
    *out = p;
    return MSIM_OK;
}

void ms_gpu_projector_close(ms_gpu_projector *p) {
    if (!p) return;
    for (size_t i = 0; i < p->n_shapes; i++) ms_gpu_blaslt_plan_close(p->shapes[i].plan);
    ms_gpu_blaslt_close(p->library);
    ms_free(p->shapes);
    ms_free(p);
}
