/* Anchors: see anchors.h. Two passes: every posting weighs for its group, then the anchors of the
 * heaviest groups are gathered and sorted. */
#include "notes/find/anchors.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint64_t what; /* (piece << 8 | transpose + 64) + 1; 0: free */
    float weight;
    uint32_t last_query; /* + 1 */
} group_slot;

typedef struct {
    const ms_probe *query;
    const msim_notes *notes;
    const ms_anchor_limits *limits;
    const ms_stop *stop;
    ms_loose_anchor *found; /* the arena's: [n] */
    size_t n;
    group_slot *table; /* the arena's: [mask + 1] */
    size_t mask;
} search;

/* The postings of one word. */
static bool read_word(search *s, const ms_word *word, const ms_range *range) {
    const msim_notes *notes = s->notes;
    const int pitch = s->query->canon.pitch[word->note];
    const uint32_t query_span = word->span_ms < 60000 ? word->span_ms + 40 : 60040;
    const uint8_t *block = NULL;
    size_t n_bytes, n = 0;
    for (uint64_t at = range->first; at < range->first + range->n; at++) {
        uint32_t piece, note;
        if (!block || at % MS_BLOCK == 0)
            if (!ms_index_block(notes, at / MS_BLOCK, &block, &n_bytes, &n)) return false;
        if (at % MS_BLOCK >= n) return false;
        const uint64_t value = ms_block_value(block, (size_t)(at % MS_BLOCK), notes->width);
        const uint32_t span = ms_span_of((unsigned)value & ((1 << MS_SPAN_BITS) - 1));
        if (!ms_anchor_is_near_tempo(span, query_span)) continue;
        if (!ms_index_piece_of(notes, value >> MS_SPAN_BITS, &piece, &note)) return false;
        if (!ms_anchor_may_match(s->limits, piece)) continue;
        const int d = notes->pitches[value >> MS_SPAN_BITS] - pitch;
        if (d > MS_TRANSPOSE_MAX || d < -MS_TRANSPOSE_MAX || (s->limits->is_same_key && d))
            continue;
        s->found[s->n++] = (ms_loose_anchor){
            .group = ms_anchor_group(piece, d),
            .anchor = {.query = word->note,
                       .target = note,
                       .query_span = (uint16_t)(query_span < 65535 ? query_span : 65535),
                       .span = (uint16_t)span,
                       .bits = range->bits}};
    }
    return true;
}

static size_t slot_of(search *s, uint64_t what) {
    size_t i = ms_word_hash(what) & s->mask;
    while (s->table[i].what && s->table[i].what != what) i = (i + 1) & s->mask;
    s->table[i].what = what;
    return i;
}

/* Anchors come in ascending order of the query's notes, each of which weighs once. The table is
 * larger than the processor's caches: slots are asked for some anchors ahead. */
static int weigh(search *s, msim_error *err) {
    enum { AHEAD = 16 };
    int rc = MSIM_OK;
    for (size_t i = 0; i < s->n && rc >= 0; i++) {
        ms_loose_anchor *a = &s->found[i];
        rc = ms_stop_check_at(s->stop, i, "anchors", err);
        if (i + AHEAD < s->n)
            __builtin_prefetch(&s->table[ms_word_hash(a[AHEAD].group) & s->mask], 1);
        a->group = slot_of(s, a->group);
        group_slot *g = &s->table[a->group];
        if (g->last_query == a->anchor.query + 1) continue;
        g->last_query = a->anchor.query + 1;
        g->weight += a->anchor.bits;
    }
    return rc;
}

static int by_weight(const void *a, const void *b) {
    const group_slot *x = *(group_slot *const *)a, *y = *(group_slot *const *)b;
    if (x->weight != y->weight) return x->weight > y->weight ? -1 : 1;
    return (x->what > y->what) - (x->what < y->what);
}

/* The heaviest groups, heaviest first, in list [2 * max]. Whenever it is full, the better half
 * stays; what weighs less than all of that is then left out at once. */
static size_t choose(search *s, group_slot **list, size_t max) {
    size_t n = 0;
    float least = -1;
    for (size_t i = 0; i <= s->mask; i++) {
        group_slot *g = &s->table[i];
        if (!g->what || g->weight < least) continue;
        list[n++] = g;
        if (n < 2 * max) continue;
        qsort(list, n, sizeof *list, by_weight);
        n = max;
        least = list[n - 1]->weight;
    }
    qsort(list, n, sizeof *list, by_weight);
    return n < max ? n : max;
}

static bool is_after(const ms_anchor *x, const ms_anchor *y) {
    if (x->target != y->target) return x->target > y->target;
    if (x->query != y->query) return x->query > y->query;
    if (x->bits != y->bits) return x->bits < y->bits;
    if (x->span != y->span) return x->span > y->span;
    return x->query_span > y->query_span;
}

/* Anchors stand in order of the query. Counting by target keeps that order. */
static void sort_by_target(ms_anchor *anchors, size_t n, uint32_t *place, size_t n_targets,
                           ms_anchor *spare) {
    memset(place, 0, (n_targets + 1) * sizeof *place);
    for (size_t i = 0; i < n; i++) place[anchors[i].target + 1]++;
    for (size_t t = 0; t < n_targets; t++) place[t + 1] += place[t];
    for (size_t i = 0; i < n; i++) spare[place[anchors[i].target]++] = anchors[i];
    memcpy(anchors, spare, n * sizeof *anchors);
}

/* In order of target, then query. Words of several streams may give the same pair of notes: the one
 * with most bits is kept. What is nearly in order is then put in order by insertion. */
int ms_anchors_sort(ms_group *g, ms_arena *arena, msim_error *err) {
    enum { FEW = 24 };
    uint32_t last = 0;
    size_t kept = 0;
    for (size_t i = 0; i < g->n; i++)
        if (g->anchors[i].target > last) last = g->anchors[i].target;
    if (g->n > FEW) {
        uint32_t *place = ms_arena_get(arena, (size_t)last + 2, sizeof *place, "anchors", err);
        ms_anchor *spare = place ? ms_arena_get(arena, g->n, sizeof *spare, "anchors", err) : NULL;
        if (!spare) return -MSIM_E_MEMORY;
        sort_by_target(g->anchors, g->n, place, (size_t)last + 1, spare);
    }
    for (size_t i = 1; i < g->n; i++) {
        const ms_anchor moving = g->anchors[i];
        size_t k = i;
        for (; k > 0 && is_after(&g->anchors[k - 1], &moving); k--)
            g->anchors[k] = g->anchors[k - 1];
        g->anchors[k] = moving;
    }
    for (size_t i = 0; i < g->n; i++)
        if (i == 0 || g->anchors[i].target != g->anchors[kept - 1].target ||
            g->anchors[i].query != g->anchors[kept - 1].query)
            g->anchors[kept++] = g->anchors[i];
    g->n = kept;
    return MSIM_OK;
}

/* The anchors of the n groups of `list`. kept[slot]: the number of its group + 1, or 0. */
static int gather(search *s, group_slot **list, size_t n, ms_group *groups, ms_arena *arena,
                  msim_error *err) {
    uint32_t *kept = ms_arena_get(arena, s->mask + 1, sizeof *kept, "anchors", err);
    if (!kept) return -MSIM_E_MEMORY;
    memset(kept, 0, (s->mask + 1) * sizeof *kept);
    for (size_t i = 0; i < n; i++) {
        const uint64_t what = list[i]->what - 1;
        groups[i] = (ms_group){.piece = (uint32_t)(what >> 8),
                               .transpose = (int)(what & 255) - 64,
                               .weight = list[i]->weight};
        kept[list[i] - s->table] = (uint32_t)i + 1;
    }
    for (size_t i = 0; i < s->n; i++) {
        const uint32_t g = kept[s->found[i].group];
        if (g) groups[g - 1].n++;
    }
    for (size_t i = 0; i < n; i++) {
        groups[i].anchors =
            ms_arena_get(arena, groups[i].n, sizeof *groups->anchors, "anchors", err);
        if (!groups[i].anchors) return -MSIM_E_MEMORY;
        groups[i].n = 0;
    }
    for (size_t i = 0; i < s->n; i++) {
        const uint32_t g = kept[s->found[i].group];
        if (g) groups[g - 1].anchors[groups[g - 1].n++] = s->found[i].anchor;
    }
    int rc = MSIM_OK;
    for (size_t i = 0; i < n && rc >= 0; i++) {
        rc = ms_stop_check(s->stop, "anchors", err);
        if (rc >= 0) rc = ms_anchors_sort(&groups[i], arena, err);
    }
    return rc;
}

static int read_words(search *s, ms_arena *arena, msim_error *err) {
    size_t n = 0;
    for (size_t i = 0; i < s->query->n_words; i++) n += (size_t)s->query->ranges[i].n;
    s->found = ms_arena_get(arena, n, sizeof *s->found, "anchors", err);
    if (!s->found) return -MSIM_E_MEMORY;
    int rc = MSIM_OK;
    for (size_t i = 0; i < s->query->n_words && rc >= 0; i++) {
        rc = i % 64 ? MSIM_OK : ms_stop_check(s->stop, "anchors", err);
        if (!read_word(s, &s->query->words[i], &s->query->ranges[i]))
            return ms_index_damaged(s->notes, "a posting", err);
    }
    return rc;
}

static int make_table(search *s, ms_arena *arena, msim_error *err) {
    size_t slots = 64;
    while (slots < s->n + s->n / 2) slots *= 2;
    s->table = ms_arena_get(arena, slots, sizeof *s->table, "anchors", err);
    if (!s->table) return -MSIM_E_MEMORY;
    s->mask = slots - 1;
    memset(s->table, 0, slots * sizeof *s->table);
    return MSIM_OK;
}

static int gather_heaviest(search *s, size_t max, ms_arena *arena, ms_group **out, size_t *n_out,
                           msim_error *err) {
    int rc = make_table(s, arena, err);
    if (rc >= 0) rc = weigh(s, err);
    if (rc < 0) return rc;
    group_slot **list = ms_arena_get(arena, 2 * max + 1, sizeof(group_slot *), "anchors", err);
    ms_group *groups = list ? ms_arena_get(arena, max, sizeof *groups, "anchors", err) : NULL;
    if (!groups) return -MSIM_E_MEMORY;
    *n_out = choose(s, list, max);
    *out = groups;
    return gather(s, list, *n_out, groups, arena, err);
}

int ms_anchors_gather(ms_loose_anchor *found, size_t n, size_t max_groups, ms_arena *arena,
                      ms_group **out, size_t *n_out, msim_error *err) {
    search s = {.found = found, .n = n};
    return gather_heaviest(&s, max_groups, arena, out, n_out, err);
}

int ms_anchors_find(const ms_probe *query, const msim_notes *notes, const ms_anchor_limits *limits,
                    ms_arena *arena, ms_group **out, size_t *n_out, msim_error *err) {
    search s = {.query = query, .notes = notes, .limits = limits, .stop = query->stop};
    int rc = read_words(&s, arena, err);
    return rc < 0 ? rc : gather_heaviest(&s, limits->max_groups, arena, out, n_out, err);
}
