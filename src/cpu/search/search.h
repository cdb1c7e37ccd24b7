/* Exact search on the CPU over the rows of a context. cpu/backend.c owns it. Its scoring kernels
 * come from the table of the level. */
#ifndef MS_CPU_SEARCH_SEARCH_H
#define MS_CPU_SEARCH_SEARCH_H
#include "base/pool.h"
#include "search/backend.h"

typedef struct ms_cpu_search ms_cpu_search;

/* Scratch for max_queries queries and max_k results, shared by the workers of the pool (borrowed).
 * `isa` as cpu/levels.h. */
int ms_cpu_search_open(ms_pool *pool, int isa, const msim_options *options, ms_cpu_search **out,
                       msim_error *err);
void ms_cpu_search_close(ms_cpu_search *s);
/* As backend.h. On failure nothing is loaded. */
int ms_cpu_search_load(ms_cpu_search *s, const ms_rows *views, size_t n_views, int64_t first,
                       int64_t n, msim_error *err);
int64_t ms_cpu_search_topk(ms_cpu_search *s, const ms_search_request *request, ms_hit *hits,
                           msim_error *err);
int64_t ms_cpu_search_above(ms_cpu_search *s, const ms_search_request *request, msim_error *err);
void ms_cpu_search_outcome(const ms_cpu_search *s, ms_search_outcome *out);

#endif
