/* Statistics of rows: memory, and two of them put together. Contract: whiten/whitening.h. */
#include "base/mem.h"
#include "whiten/whitening.h"

int ms_whiten_stats_open(ms_whiten_stats *stats, int64_t dim, msim_error *err) {
    *stats = (ms_whiten_stats){.dim = dim};
    stats->mean = ms_alloc((size_t)dim, sizeof *stats->mean, "whitening", err);
    if (stats->mean)
        stats->covariance =
            ms_alloc(ms_whiten_triangle((size_t)dim), sizeof *stats->covariance, "whitening", err);
    if (stats->covariance) return MSIM_OK;
    ms_whiten_stats_close(stats);
    return -MSIM_E_MEMORY;
}

int ms_whiten_nuisance_open(ms_whiten_stats *stats, msim_error *err) {
    stats->nuisance =
        ms_alloc(ms_whiten_triangle((size_t)stats->dim), sizeof *stats->nuisance, "whitening", err);
    return stats->nuisance ? MSIM_OK : -MSIM_E_MEMORY;
}

void ms_whiten_stats_close(ms_whiten_stats *stats) {
    ms_free(stats->mean);
    ms_free(stats->covariance);
    ms_free(stats->nuisance);
    *stats = (ms_whiten_stats){0};
}

/* Every altered copy weighs the same, whichever fit knows it. */
static int combine_nuisance(ms_whiten_stats *own, const ms_whiten_stats *p, msim_error *err) {
    if (!p->altered) return MSIM_OK;
    int rc = own->nuisance ? MSIM_OK : ms_whiten_nuisance_open(own, err);
    if (rc < 0) return rc;
    double all = (double)own->altered + (double)p->altered, a = (double)own->altered / all,
           b = (double)p->altered / all;
    for (size_t i = 0; i < ms_whiten_triangle((size_t)own->dim); i++)
        own->nuisance[i] = a * own->nuisance[i] + b * p->nuisance[i];
    own->altered += p->altered;
    return MSIM_OK;
}

/* With weights a + b = 1: mean = a m + b p, and C = a C_m + b C_p + a b (m - p)(m - p)^T. */
int ms_whiten_combine(ms_whiten_stats *own, const msim_whitening *prior, int64_t prior_rows,
                      msim_error *err) {
    const ms_whiten_stats *p = &prior->stats;
    int64_t most = p->distinct + p->prior_rows, counted = most < prior_rows ? most : prior_rows;
    if (!p->covariance)
        return ms_fail(err, MSIM_E_ARG,
                       "whitening: expected a fit from a .whiten file, got that of a whitened "
                       "corpus, which has no covariance");
    if (p->dim != own->dim)
        return ms_fail(err, MSIM_E_ARG, "whitening: expected a fit of width %lld, got %lld",
                       (long long)own->dim, (long long)p->dim);
    if (counted <= 0) return MSIM_OK;
    double all = (double)own->distinct + (double)counted, a = (double)own->distinct / all,
           b = (double)counted / all, *c = own->covariance;
    const double *pc = p->covariance;
    for (int64_t i = 0; i < own->dim; i++)
        for (int64_t j = 0; j <= i; j++, c++, pc++)
            *c = (a * *c + b * *pc) +
                 a * b * ((own->mean[i] - p->mean[i]) * (own->mean[j] - p->mean[j]));
    for (int64_t i = 0; i < own->dim; i++) own->mean[i] = a * own->mean[i] + b * p->mean[i];
    own->prior_rows = counted;
    return combine_nuisance(own, p, err);
}
