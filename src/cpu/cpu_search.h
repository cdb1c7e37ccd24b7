/* Cosine top-K on the CPU over a context's rows. Owned by cpu_backend.c; scoring kernels come from the level's table. */
#ifndef MS_CPU_SEARCH_H
#define MS_CPU_SEARCH_H
#include "core/pool.h"
#include "core/rows.h"
#include "core/topk.h"

typedef struct ms_cpu_search ms_cpu_search;

/* Scratch for max_queries queries and max_k results on every worker of the pool (borrowed). `isa` as cpu_isa.h. */
int ms_cpu_search_open(ms_pool *pool, int isa, const msim_options *options, ms_cpu_search **out, msim_error *err);
void ms_cpu_search_close(ms_cpu_search *s);
int ms_cpu_search_load(ms_cpu_search *s, const ms_rows *views, size_t n_views, msim_error *err);
int64_t ms_cpu_search_topk(ms_cpu_search *s, const float *queries, size_t n_query, int64_t k, ms_hit *hits,
                           msim_error *err);
/* Rows with NaN or infinity that the last ms_cpu_search_topk met. */
int64_t ms_cpu_search_nonfinite(const ms_cpu_search *s);

#endif
