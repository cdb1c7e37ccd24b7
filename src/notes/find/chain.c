/* Chaining by dynamic programming: see chain.h. */
#include "notes/find/chain.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A chain that ends at an anchor. */
typedef struct {
    float score, log_tempo, tempo; /* tempo: target ms for one ms of the query */
    float log_own;                 /* of the anchor alone */
    int32_t before;                /* anchor, or -1 */
    bool is_used;
} link_state;

typedef struct {
    const ms_group *group;
    const ms_probe *query;
    const ms_target *target;
    const ms_chain_tables *tables;
    link_state *links; /* the arena's: [group->n] */
} chaining;

void ms_chain_tables_init(ms_chain_tables *tables) {
    tables->log2_ms[0] = 0;
    for (int i = 1; i < MS_STEP_MAX_MS + MS_EASE_MS + 1; i++) tables->log2_ms[i] = log2f((float)i);
}

/* What anchor i adds behind anchor j; negative infinity when it cannot follow. *ratio gets the
 * logarithm of the tempo of the step. */
static float step_gain(const chaining *c, size_t i, size_t j, uint32_t dt, uint32_t dq,
                       float *ratio) {
    const ms_anchor *to = &c->group->anchors[i];
    const link_state *from = &c->links[j];
    const float *log2_ms = c->tables->log2_ms;
    *ratio = log2_ms[dt + MS_EASE_MS] - log2_ms[dq + MS_EASE_MS];
    if (fabsf(*ratio - from->log_tempo) > MS_TEMPO_REJECT) return -INFINITY;
    const uint32_t notes = to->query - c->group->anchors[j].query;
    const float expected = from->tempo * (float)dq;
    const float off = fabsf((float)dt - expected) - MS_OFF_SLACK_MS;
    float cost = MS_OWN_TEMPO_BITS * fabsf(c->links[i].log_own - from->log_tempo);
    if (off > 0) cost += MS_OFF_BITS * off / (MS_OFF_BASE_MS + MS_OFF_SHARE * expected);
    if (notes > MS_WORD_REACH) {
        const uint32_t skipped = notes - MS_WORD_REACH;
        cost += MS_SKIP_BITS *
                (skipped <= MS_STEP_MAX_MS ? log2_ms[skipped] : log2f((float)skipped));
    }
    if (cost > MS_COST_REJECT) return -INFINITY;
    const float share = notes > MS_WORD_REACH ? 1 : (float)notes / (MS_WORD_REACH + 1);
    return to->bits * share - cost;
}

/* The tempo of a chain follows its steps slowly, and short steps more slowly yet. */
static void follow(link_state *link, const link_state *before, float ratio, uint32_t dq) {
    const float w = dq > MS_LONG_STEP_MS ? MS_FOLLOW_LONG : MS_FOLLOW_SHORT;
    link->log_tempo = (1 - w) * before->log_tempo + w * ratio;
    link->tempo = exp2f(link->log_tempo);
}

static void find_best_before(const chaining *c, size_t i) {
    const ms_anchor *a = c->group->anchors;
    link_state *link = &c->links[i];
    const uint32_t time = c->target->time[a[i].target],
                   query_time = c->query->canon.time[a[i].query];
    float best_ratio = 0;
    uint32_t best_dq = 0;
    const size_t reach = c->group->look_back ? c->group->look_back : MS_LOOK_BACK;
    const size_t last = i > reach ? i - reach : 0;
    for (size_t j = i; j-- > last;) {
        float ratio;
        const uint32_t dt = time - c->target->time[a[j].target];
        if (dt > MS_STEP_MAX_MS) break;
        /* No step adds more than the anchor's own bits. */
        if (c->links[j].score + a[i].bits <= link->score) continue;
        if (a[j].query >= a[i].query || a[j].target >= a[i].target) continue;
        const uint32_t dq = query_time - c->query->canon.time[a[j].query];
        if (dq > MS_STEP_MAX_MS) continue;
        const float score = c->links[j].score + step_gain(c, i, j, dt, dq, &ratio);
        if (score <= link->score) continue;
        link->score = score;
        link->before = (int32_t)j;
        best_ratio = ratio;
        best_dq = dq;
    }
    if (link->before >= 0) follow(link, &c->links[link->before], best_ratio, best_dq);
}

static int fill_links(const chaining *c, msim_error *err) {
    int rc = MSIM_OK;
    for (size_t i = 0; i < c->group->n && rc >= 0; i++) {
        const ms_anchor *a = &c->group->anchors[i];
        link_state *link = &c->links[i];
        rc = ms_stop_check_at(c->query->stop, i, "chains", err);
        *link = (link_state){.score = a->bits, .before = -1};
        link->log_own = log2f((float)a->span / (float)a->query_span);
        link->log_tempo = link->log_own;
        link->tempo = (float)a->span / (float)a->query_span;
        find_best_before(c, i);
    }
    return rc;
}

/* The best end that no chain has used, or -1. */
static int64_t best_end(const chaining *c) {
    int64_t best = -1;
    for (size_t i = 0; i < c->group->n; i++)
        if (!c->links[i].is_used && (best < 0 || c->links[i].score > c->links[best].score))
            best = (int64_t)i;
    return best;
}

/* Follow a chain back to its begin, or to an anchor of a better chain. */
static int take_chain(const chaining *c, int64_t end, ms_arena *arena, ms_chain *out,
                      msim_error *err) {
    size_t n = 0;
    int64_t i;
    for (i = end; i >= 0 && !c->links[i].is_used; i = c->links[i].before) n++;
    ms_anchor *anchors = ms_arena_get(arena, n, sizeof *anchors, "a chain", err);
    if (!anchors) return -MSIM_E_MEMORY;
    *out = (ms_chain){.piece = c->group->piece,
                      .transpose = c->group->transpose,
                      .score = c->links[end].score - (i >= 0 ? c->links[i].score : 0),
                      .anchors = anchors,
                      .n = n};
    for (i = end; i >= 0 && !c->links[i].is_used; i = c->links[i].before) {
        anchors[--n] = c->group->anchors[i];
        c->links[i].is_used = true;
    }
    return MSIM_OK;
}

int ms_chain_group(const ms_group *group, const ms_probe *query, const ms_target *target,
                   const ms_chain_tables *tables, ms_arena *arena, ms_chain *out, msim_error *err) {
    chaining c = {.group = group, .query = query, .target = target, .tables = tables};
    for (size_t i = 0; i < group->n; i++)
        if (group->anchors[i].target >= target->n)
            return ms_fail(err, MSIM_E_FORMAT, "note index: damaged: a posting beyond its piece");
    c.links = ms_arena_get(arena, group->n, sizeof *c.links, "a chain", err);
    if (!c.links) return -MSIM_E_MEMORY;
    int rc = fill_links(&c, err);
    if (rc < 0) return rc;
    int n = 0;
    for (int64_t end; n < MS_CHAINS_OF_GROUP && (end = best_end(&c)) >= 0; n++) {
        rc = take_chain(&c, end, arena, &out[n], err);
        if (rc < 0) return rc;
    }
    return n;
}
