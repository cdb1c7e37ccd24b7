/* A bounded heap over a total order: see topk.h. It allocates nothing. */
#include "search/topk.h"
#include <math.h>

void ms_topk_init(ms_topk *top, ms_hit *hits, size_t cap) {
    top->hits = hits;
    top->n = 0;
    top->cap = cap;
}

/* hits[0..n) is a heap but for position i, which may rank before its children: move it down. */
static void sift_down(ms_hit *hits, size_t n, size_t i) {
    ms_hit moving = hits[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && ms_hit_before(hits[child], hits[child + 1])) child++;
        if (!ms_hit_before(moving, hits[child])) break;
        hits[i] = hits[child];
    }
    hits[i] = moving;
}

void ms_topk_push(ms_topk *top, ms_hit hit) {
    if (top->cap == 0) return;
    if (isnan(hit.score)) hit.score = -INFINITY;
    if (top->n == top->cap) {
        if (!ms_hit_before(hit, top->hits[0])) return;
        top->hits[0] = hit;
        sift_down(top->hits, top->n, 0);
        return;
    }
    size_t i = top->n++;
    for (; i > 0 && ms_hit_before(top->hits[(i - 1) / 2], hit); i = (i - 1) / 2)
        top->hits[i] = top->hits[(i - 1) / 2];
    top->hits[i] = hit;
}

void ms_topk_merge(ms_topk *top, const ms_topk *from) {
    for (size_t i = 0; i < from->n; i++) ms_topk_push(top, from->hits[i]);
}

void ms_topk_sort(ms_topk *top) {
    for (size_t n = top->n; n > 1; n--) {
        ms_hit worst = top->hits[0];
        top->hits[0] = top->hits[n - 1];
        top->hits[n - 1] = worst;
        sift_down(top->hits, n - 1, 0);
    }
}
