/* kernels/encoder/project.h: a table of the shapes seen so far, and for each who computes it. The
 * library gets a shape when one of its algorithms passes the trial of kernels/encoder/trial.h, on
 * this device and at this shape. Running out of memory is an error and not a
 * reason to choose otherwise, or bits would depend on what else is on the card. docs/GPU.md. */
#include "kernels/encoder/project.h"
#include "base/mem.h"
#include "kernels/encoder/trial.h"
#include "model/constants.h"
#include <stdio.h>

typedef struct {
    int64_t n, k, rotated;
    int epilogue, choice; /* MS_GPU_PRODUCT_OWN or _LIBRARY */
    bool has_bias, has_bias_bf16;
    ms_gpu_blaslt_plan *plan; /* owned; NULL: our kernel */
    ms_gpu_trial trial;       /* of the plan */
    char why[200];            /* our kernel: why not the library */
} planned;

struct ms_gpu_projector {
    ms_gpu_stream *stream;  /* borrowed */
    ms_gpu_blaslt *library; /* owned; NULL: not in use */
    int product;
    planned *shapes; /* owned */
    size_t n_shapes, cap;
};

static int what_auto_means = MS_GPU_PRODUCT_AUTO;

void ms_gpu_projector_set_auto(int product) { what_auto_means = product; }

/* What the library and the kernels behind a product can do: ms_rotate_bf16_cuda knows q, k and v of
 * one width, and a bias has the type of dst. */
static int check_fits(const ms_gpu_gemm *g, msim_error *err) {
    if (g->epilogue == MS_GPU_ROTATE &&
        (g->rotated % (2 * MS_HEAD_DIM) != 0 || g->n != g->rotated / 2 * 3))
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "cuBLASLt: rotation of %lld columns: it is not two thirds of %lld",
                       (long long)g->rotated, (long long)g->n);
    if (g->epilogue != MS_GPU_ADD && g->bias && !g->bias_bf16)
        return ms_fail(err, MSIM_E_UNSUPPORTED, "cuBLASLt: expected the bias in bf16 too");
    return MSIM_OK;
}

/* ---- The table ---- */

static planned *find(const ms_gpu_projector *p, const ms_gpu_gemm *g) {
    for (size_t i = 0; i < p->n_shapes; i++) {
        planned *s = &p->shapes[i];
        if (s->n == g->n && s->k == g->k && s->epilogue == g->epilogue &&
            s->has_bias == (g->bias != NULL) && s->has_bias_bf16 == (g->bias_bf16 != NULL) &&
            (g->epilogue != MS_GPU_ROTATE || s->rotated == g->rotated))
            return s;
    }
    return NULL;
}

/* Ask the library for a plan and try it. MSIM_OK with out->plan NULL: our kernel is to do it. */
static int choose(ms_gpu_projector *p, const ms_gpu_gemm *shape, planned *out, msim_error *err) {
    ms_gpu_blaslt_plan *plan = NULL;
    msim_error why; /* no error of the caller's while our kernel can do it */
    int result = shape->epilogue == MS_GPU_ADD ? MS_GPU_BLASLT_ADD : MS_GPU_BLASLT_BF16;
    int rc = check_fits(shape, &why);
    if (rc >= 0)
        rc = ms_gpu_blaslt_plan_open(p->library, shape->n, shape->k, result, shape->bias != NULL,
                                     &plan, &why);
    if (rc >= 0) rc = ms_gpu_trial_run(p->stream, plan, shape, &out->trial, &why);
    if (rc >= 0) {
        out->plan = plan;
        out->choice = MS_GPU_PRODUCT_LIBRARY;
        return MSIM_OK;
    }
    ms_gpu_blaslt_plan_close(plan);
    out->choice = MS_GPU_PRODUCT_OWN;
    snprintf(out->why, sizeof out->why, "%.199s", why.text);
    if (p->product != MS_GPU_PRODUCT_LIBRARY && rc != -MSIM_E_MEMORY) return MSIM_OK;
    if (err) *err = why;
    return rc;
}

int ms_gpu_projector_plan(ms_gpu_projector *p, const ms_gpu_gemm *shape, msim_error *err) {
    if (!p->library || find(p, shape)) return MSIM_OK;
    int rc = ms_grow((void **)&p->shapes, &p->cap, p->n_shapes + 1, sizeof *p->shapes,
                     "shapes of products", err);
    if (rc < 0) return rc;
    planned *s = &p->shapes[p->n_shapes];
    *s = (planned){.n = shape->n,
                   .k = shape->k,
                   .rotated = shape->rotated,
                   .epilogue = shape->epilogue,
                   .has_bias = shape->bias != NULL,
                   .has_bias_bf16 = shape->bias_bf16 != NULL};
    rc = choose(p, shape, s, err);
    if (rc >= 0) p->n_shapes++;
    return rc;
}

int ms_gpu_project(ms_gpu_projector *p, const ms_gpu_gemm *g, msim_error *err) {
    if (g->m == 0) return MSIM_OK;
    int rc = ms_gpu_projector_plan(p, g, err);
    if (rc < 0) return rc;
    const planned *s = find(p, g);
    return s && s->plan ? ms_gpu_library_multiply(p->stream, s->plan, g, err)
                        : ms_gemm_bf16_cuda(p->stream, g, err);
}

int ms_gpu_projector_choice(const ms_gpu_projector *p, const ms_gpu_gemm *shape) {
    if (!p->library) return MS_GPU_PRODUCT_OWN;
    const planned *s = find(p, shape);
    return s ? s->choice : MS_GPU_PRODUCT_AUTO;
}

void ms_gpu_projector_describe(const ms_gpu_projector *p, const ms_gpu_gemm *g, char *out,
                               size_t cap) {
    const planned *s = p->library ? find(p, g) : NULL;
    if (!s || !s->plan) {
        int tile = g->m > 0 ? ms_gemm_bf16_choose(p->stream, g) : -1;
        snprintf(out, cap, "own kernel%s%s%s%s%s", tile < 0 ? "" : " ",
                 tile < 0 ? "" : ms_gemm_bf16_tile_name(tile), s ? " (" : "", s ? s->why : "",
                 s ? ")" : "");
        return;
    }
    char algorithm[80];
    ms_gpu_blaslt_counts c = ms_gpu_blaslt_plan_counts(s->plan);
    ms_gpu_blaslt_plan_describe(s->plan, algorithm, sizeof algorithm);
    snprintf(
        out, cap,
        "cuBLASLt %zu %s (%d offered: %d split sums, %d refuse rows, %d wrong, %d unsteady, %d "
        "apart, %d agree)",
        ms_gpu_blaslt_version(p->library), algorithm, c.n_offered, c.n_split, c.n_refusing,
        s->trial.n_wrong, s->trial.n_unsteady, s->trial.n_apart, s->trial.n_agreeing);
}

size_t ms_gpu_projector_library(const ms_gpu_projector *p) {
    return p->library ? ms_gpu_blaslt_version(p->library) : 0;
}

/* ---- Open and close ---- */

int ms_gpu_projector_open(ms_gpu_stream *stream, int product, ms_gpu_projector **out,
                          msim_error *err) {
    *out = NULL;
    if (product == MS_GPU_PRODUCT_AUTO) product = what_auto_means;
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
