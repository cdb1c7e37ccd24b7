/* The handle: made from statistics, or from the map that the description of a whitened corpus
 * holds; and what it says about itself. Contracts: whiten/whitening.h, include/midisim.h. */
#include "base/hash/digest.h"
#include "base/mem.h"
#include "base/sized.h"
#include "whiten/cholesky.h"
#include "whiten/whitening.h"
#include <math.h>
#include <string.h>

enum { LANES = MS_WHITEN_LANES };

void msim_whitening_close(msim_whitening *w) {
    if (!w) return;
    ms_whiten_stats_close(&w->stats);
    ms_free(w->mean);
    ms_free(w->factor);
    ms_free(w->panels);
    ms_free(w);
}

static int reserve(msim_whitening *w, int64_t dim, msim_error *err) {
    size_t n = (size_t)dim, panels = ms_whiten_panel_count(n);
    w->mean = ms_alloc(n, sizeof *w->mean, "whitening", err);
    if (w->mean) w->factor = ms_alloc(ms_whiten_triangle(n), sizeof *w->factor, "whitening", err);
    if (w->factor) /* panel p has (p + 1) LANES rows of LANES */
        w->panels = ms_alloc(panels * (panels + 1) / 2 * LANES * LANES, sizeof *w->panels,
                             "whitening", err);
    return w->panels ? MSIM_OK : -MSIM_E_MEMORY;
}

static int hash_map(msim_whitening *w, msim_error *err) {
    ms_digest digest;
    unsigned char bytes[MS_WHITEN_HASH_BYTES], dim[8];
    size_t n = (size_t)w->stats.dim;
    for (int i = 0; i < 8; i++) dim[i] = (unsigned char)((uint64_t)n >> 8 * i);
    ms_digest_begin(&digest, MS_DIGEST_SHA256);
    ms_digest_add(&digest, dim, sizeof dim);
    ms_digest_add(&digest, w->mean, n * sizeof *w->mean);
    ms_digest_add(&digest, w->factor, ms_whiten_triangle(n) * sizeof *w->factor);
    int rc = ms_digest_end(&digest, bytes, err);
    if (rc >= 0) ms_digest_put_hex(bytes, sizeof bytes, w->hash);
    return rc;
}

/* Numbers that give finite rows: no entry is larger than any fit can have it. */
#define LARGEST 1e15f

static int finish(msim_whitening *w, msim_error *err) {
    size_t dim = (size_t)w->stats.dim;
    double *to = w->panels;
    for (size_t p = 0; p < ms_whiten_panel_count(dim); p++)
        for (size_t k = 0; k < (p + 1) * LANES; k++, to += LANES)
            for (size_t l = 0; l < LANES; l++) {
                size_t row = p * LANES + l;
                to[l] = row < dim && k <= row ? w->factor[row * (row + 1) / 2 + k] : 0.0;
            }
    for (size_t i = 0; i < ms_whiten_triangle(dim); i++)
        if (!(fabsf(w->factor[i]) < LARGEST))
            return ms_fail(err, MSIM_E_FORMAT, "whitening: number %zu of its factor is %g", i,
                           (double)w->factor[i]);
    for (size_t i = 0; i < dim; i++)
        if (!(fabsf(w->mean[i]) <= 2.0f))
            return ms_fail(err, MSIM_E_FORMAT, "whitening: component %zu of its mean is %g", i,
                           (double)w->mean[i]);
    return hash_map(w, err);
}

/* A file has 4 bytes for each number. They are rounded before the map is made, so that the file
 * gives the same map. */
static void round_numbers(double *x, size_t n) {
    for (size_t i = 0; x && i < n; i++) x[i] = (double)(float)x[i];
}

/* out = C + w N, a lower triangle. Returns its trace. */
static double weigh(const msim_whitening *w, double *out) {
    const double *c = w->stats.covariance, *nuisance = w->stats.nuisance;
    size_t dim = (size_t)w->stats.dim, n = ms_whiten_triangle(dim);
    double trace = 0.0;
    memcpy(out, c, n * sizeof *out);
    for (size_t i = 0; nuisance && i < n; i++) out[i] += w->nuisance_weight * nuisance[i];
    for (size_t i = 0; i < dim; i++) trace += out[i * (i + 1) / 2 + i];
    return trace;
}

/* mean and factor from the statistics: C + w N + shrink ebar I = L L^T, factor = L^-1. */
static int solve(msim_whitening *w, msim_error *err) {
    size_t dim = (size_t)w->stats.dim, n = ms_whiten_triangle(dim);
    double *l = ms_alloc(n, sizeof *l, "whitening", err),
           *inverse = l ? ms_alloc(n, sizeof *inverse, "whitening", err) : NULL;
    int rc = inverse ? MSIM_OK : -MSIM_E_MEMORY;
    double trace = rc >= 0 ? weigh(w, l) : 0.0;
    double add = w->shrink * (trace / (double)dim);
    /* below it, rows differ by their rounding alone */
    if (rc >= 0 && !(trace > 1e-9))
        rc = ms_fail(err, MSIM_E_ARG, "whitening: the rows are all alike: there is nothing to fit");
    if (rc >= 0) {
        for (size_t i = 0; i < dim; i++) l[i * (i + 1) / 2 + i] += add;
        if (!ms_cholesky_factor(l, dim))
            rc = ms_fail(err, MSIM_E_ARG,
                         "whitening: the covariance is not positive: raise shrink (%g)", w->shrink);
    }
    if (rc >= 0) {
        ms_cholesky_invert(inverse, l, dim);
        for (size_t i = 0; i < n; i++) w->factor[i] = (float)inverse[i];
        for (size_t i = 0; i < dim; i++) w->mean[i] = (float)w->stats.mean[i];
    }
    ms_free(l);
    ms_free(inverse);
    return rc;
}

int ms_whiten_from_stats(ms_whiten_stats *stats, double shrink, double nuisance_weight,
                         msim_whitening **out, msim_error *err) {
    msim_whitening *w = ms_alloc(1, sizeof *w, "whitening", err);
    *out = NULL;
    if (!w) {
        ms_whiten_stats_close(stats);
        return -MSIM_E_MEMORY;
    }
    w->stats = *stats;
    *stats = (ms_whiten_stats){0};
    w->shrink = shrink;
    w->nuisance_weight = w->stats.nuisance ? nuisance_weight : 0.0;
    round_numbers(w->stats.mean, (size_t)w->stats.dim);
    round_numbers(w->stats.covariance, ms_whiten_triangle((size_t)w->stats.dim));
    round_numbers(w->stats.nuisance, ms_whiten_triangle((size_t)w->stats.dim));
    int rc = reserve(w, w->stats.dim, err);
    if (rc >= 0) rc = solve(w, err);
    if (rc >= 0) rc = finish(w, err);
    if (rc < 0)
        msim_whitening_close(w);
    else
        *out = w;
    return rc;
}

int ms_whiten_from_map(int64_t dim, const float *mean, const float *factor, msim_whitening **out,
                       msim_error *err) {
    *out = NULL;
    if (dim < 1 || dim > MS_WHITEN_DIM_MAX)
        return ms_fail(err, MSIM_E_FORMAT, "whitening: expected a width of 1..%d, got %lld",
                       MS_WHITEN_DIM_MAX, (long long)dim);
    msim_whitening *w = ms_alloc(1, sizeof *w, "whitening", err);
    if (!w) return -MSIM_E_MEMORY;
    w->stats.dim = dim;
    int rc = reserve(w, dim, err);
    if (rc >= 0) {
        memcpy(w->mean, mean, (size_t)dim * sizeof *mean);
        memcpy(w->factor, factor, ms_whiten_triangle((size_t)dim) * sizeof *factor);
        rc = finish(w, err);
    }
    if (rc < 0)
        msim_whitening_close(w);
    else
        *out = w;
    return rc;
}

/* ---- What it says ---- */

int msim_whitening_get_info(const msim_whitening *w, msim_whitening_info *out) {
    msim_whitening_info info = {.size = sizeof info,
                                .dim = w->stats.dim,
                                .rows = w->stats.rows,
                                .distinct = w->stats.distinct,
                                .prior_rows = w->stats.prior_rows,
                                .altered = w->stats.altered,
                                .shrink = w->shrink,
                                .nuisance_weight = w->nuisance_weight,
                                .has_statistics = w->stats.covariance != NULL,
                                .pairs = w->background.pairs,
                                .pieces = w->background.pieces,
                                .n_quantiles = w->background.n_knots};
    _Static_assert((int)MSIM_WHITENING_QUANTILES == (int)MS_BACKGROUND_KNOTS, "one list");
    memcpy(info.quantiles, w->background.knots, sizeof info.quantiles);
    memcpy(info.hash, w->hash, sizeof info.hash);
    memcpy(info.model_sha256, w->model, sizeof info.model_sha256);
    return ms_sized_out(out, &info, sizeof info);
}

void msim_whitening_map(const msim_whitening *w, float *mean, float *factor) {
    size_t dim = (size_t)w->stats.dim;
    memcpy(mean, w->mean, dim * sizeof *mean);
    memcpy(factor, w->factor, ms_whiten_triangle(dim) * sizeof *factor);
}

double msim_whitening_p(const msim_whitening *w, double z) {
    return w->background.pairs ? ms_background_p(&w->background, z) : -1.0;
}
