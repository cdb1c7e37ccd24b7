/* Two pieces aligned: see align.h. */
#include "notes/pairs/align.h"
#include "notes/find/share.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TRANSPOSITIONS = 2 * MS_TRANSPOSE_MAX + 1 };

void ms_align_init(ms_align_memory *m) {
    ms_chain_tables_init(&m->tables);
    m->memory = (ms_verify_memory){0};
}

void ms_align_free(ms_align_memory *m) { ms_verify_free(&m->memory); }

/* ---- Anchors ---- */

/* The places where a word of the query and one of the target agree, in order of the query. */
typedef struct {
    const ms_side *query, *target;
    ms_anchor *anchors;     /* the arena's: [n] */
    uint8_t *transpose;     /* the arena's: [n] + MS_TRANSPOSE_MAX */
    uint32_t *first, *ends; /* the arena's: [query words] the first word there and how many */
    size_t n;
    float weights[TRANSPOSITIONS];
    size_t counts[TRANSPOSITIONS];
} meeting;

/* How many words of the target agree with each of the query's, and the first of them. */
static size_t count_words(meeting *m) {
    size_t n = 0;
    const unsigned sample = m->query->sample > m->target->sample ? m->query->sample
                                                                 : m->target->sample;
    for (size_t i = 0; i < m->query->n_words; i++) {
        const uint64_t prefix = ms_side_prefix(&m->query->words[i]);
        uint32_t at = m->target->heads[ms_word_hash(prefix) & m->target->mask], count = 0;
        m->first[i] = m->ends[i] = 0;
        if (!ms_side_is_sampled(prefix, sample)) continue;
        for (; at; at = m->target->next[at - 1]) {
            if (ms_side_prefix(&m->target->words[at - 1]) != prefix) continue;
            if (count++ == 0) m->first[i] = at;
        }
        m->ends[i] = count;
        n += count;
    }
    return n;
}

static void meet_word(meeting *m, size_t i, uint32_t *last) {
    const ms_word *word = &m->query->words[i];
    const int pitch = m->query->probe.canon.pitch[word->note];
    const uint32_t span = word->span_ms < 60000 ? word->span_ms + 40 : 60040;
    const float bits = log2f((float)(m->target->n_words + 1) / (float)(m->ends[i] + 1));
    for (uint32_t at = m->first[i]; at; at = m->target->next[at - 1]) {
        const ms_word *other = &m->target->words[at - 1];
        const int d = m->target->target.pitch[other->note] - pitch;
        const uint32_t its = other->span_ms < 60000 ? other->span_ms + 40 : 60040;
        if (ms_side_prefix(other) != ms_side_prefix(word) || abs(d) > MS_TRANSPOSE_MAX ||
            !ms_anchor_is_near_tempo(its, span))
            continue;
        const int slot = d + MS_TRANSPOSE_MAX;
        m->transpose[m->n] = (uint8_t)slot;
        m->anchors[m->n++] = (ms_anchor){.query = word->note,
                                         .target = other->note,
                                         .query_span = (uint16_t)span,
                                         .span = (uint16_t)its,
                                         .bits = bits};
        m->counts[slot]++;
        if (last[slot] == word->note + 1) continue; /* a note weighs once */
        last[slot] = word->note + 1;
        m->weights[slot] += bits;
    }
}

static int meet(meeting *m, ms_arena *arena, msim_error *err) {
    uint32_t last[TRANSPOSITIONS] = {0};
    m->first = ms_arena_get(arena, m->query->n_words, sizeof *m->first, "words", err);
    m->ends = m->first ? ms_arena_get(arena, m->query->n_words, sizeof *m->ends, "words", err)
                       : NULL;
    if (!m->ends) return -MSIM_E_MEMORY;
    const size_t n = count_words(m);
    m->anchors = ms_arena_get(arena, n, sizeof *m->anchors, "anchors", err);
    m->transpose = m->anchors ? ms_arena_get(arena, n, 1, "anchors", err) : NULL;
    if (!m->transpose) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < m->query->n_words; i++)
        if (m->ends[i]) meet_word(m, i, last);
    return MSIM_OK;
}

/* ---- Chains ---- */

/* The heaviest transposition that is left, or -1. */
static int heaviest(const meeting *m, float least) {
    int best = -1;
    for (int t = 0; t < TRANSPOSITIONS; t++)
        if (m->weights[t] >= least && (best < 0 || m->weights[t] > m->weights[best])) best = t;
    return best;
}

static int chain_transposition(ms_align_memory *memory, const meeting *m, int slot,
                               ms_chain *chains, ms_arena *arena, msim_error *err) {
    ms_group group = {.transpose = slot - MS_TRANSPOSE_MAX,
                      .weight = m->weights[slot],
                      .look_back = MS_PAIR_LOOK_BACK};
    group.anchors = ms_arena_get(arena, m->counts[slot], sizeof *group.anchors, "anchors", err);
    if (!group.anchors) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < m->n; i++)
        if (m->transpose[i] == slot) group.anchors[group.n++] = m->anchors[i];
    int rc = ms_anchors_sort(&group, arena, err);
    if (rc < 0) return rc;
    return ms_chain_group(&group, &m->query->probe, &m->target->target, &memory->tables, arena,
                          chains, err);
}

static int find_chains(ms_align_memory *memory, meeting *m, ms_chain *chains, size_t *n,
                       ms_arena *arena, msim_error *err) {
    float least = MS_PAIR_CHAIN_BITS;
    *n = 0;
    for (int g = 0; g < MS_PAIR_GROUPS; g++) {
        const int slot = heaviest(m, least);
        if (slot < 0) break;
        least = fmaxf(least, MS_PAIR_GROUP_SHARE * m->weights[slot]);
        int rc = chain_transposition(memory, m, slot, chains + *n, arena, err);
        if (rc < 0) return rc;
        *n += (size_t)rc;
        m->weights[slot] = 0;
    }
    qsort(chains, *n, sizeof *chains, ms_share_compare_chains);
    return MSIM_OK;
}

/* ---- Verification ---- */

static uint32_t shared(uint32_t first, uint32_t last, uint32_t other_first, uint32_t other_last) {
    const uint32_t from = first > other_first ? first : other_first,
                   to = last < other_last ? last : other_last;
    return to >= from ? to - from + 1 : 0;
}

/* True when most of a chain lies where a better one was verified: it adds nothing then. */
static bool is_covered(const ms_chain *chain, const ms_alignment *a) {
    const ms_anchor *first = &chain->anchors[0], *last = &chain->anchors[chain->n - 1];
    for (size_t i = 0; i < a->n; i++)
        if (2 * shared(first->query, last->query, a->found[i].query_first, a->found[i].query_last) >
            last->query - first->query + 1)
            return true;
    return false;
}

static int verify(ms_align_memory *memory, const ms_side *query, const ms_side *target,
                  const ms_chain *chain, ms_arena *arena, ms_alignment *out, msim_error *err) {
    int rc = ms_verify_chain(chain, &query->probe, &target->target, &memory->memory, arena,
                             &out->found[out->n], err);
    if (rc >= 0 && out->found[out->n].n_pairs > 0) out->n++;
    return rc;
}

static bool is_nearly_as_many(size_t a, size_t b) {
    return a >= MS_STRAIGHT_NOTES && fabs((double)a - (double)b) <= MS_STRAIGHT_APART * (double)b;
}

static int verify_straight(ms_align_memory *memory, const ms_side *query, const ms_side *target,
                           int transpose, ms_arena *arena, ms_alignment *out, msim_error *err) {
    const size_t n = query->probe.canon.n, n_target = target->target.n;
    ms_anchor *ends = ms_arena_get(arena, 2, sizeof *ends, "a chain", err);
    if (!ends) return -MSIM_E_MEMORY;
    ends[0] = (ms_anchor){.query_span = 40, .span = 40};
    ends[1] = (ms_anchor){
        .query = (uint32_t)n - 1, .target = (uint32_t)n_target - 1, .query_span = 40, .span = 40};
    const ms_chain chain = {.transpose = transpose, .anchors = ends, .n = 2};
    return verify(memory, query, target, &chain, arena, out, err);
}

int ms_align_straight(ms_align_memory *memory, const ms_side *query, const ms_side *target,
                      ms_arena *arena, ms_alignment *out, msim_error *err) {
    const int transpose = target->target.pitch[0] - query->target.pitch[0];
    *out = (ms_alignment){0};
    if (!is_nearly_as_many(query->target.n, target->target.n)) return MSIM_OK;
    out->found = ms_arena_get(arena, 1, sizeof *out->found, "matches", err);
    if (!out->found) return -MSIM_E_MEMORY;
    return verify_straight(memory, query, target, transpose, arena, out, err);
}

int ms_align(ms_align_memory *memory, const ms_side *query, const ms_side *target, ms_arena *arena,
             ms_alignment *out, msim_error *err) {
    ms_chain chains[MS_PAIR_GROUPS * MS_CHAINS_OF_GROUP];
    meeting m = {.query = query, .target = target};
    size_t n;
    *out = (ms_alignment){0};
    out->found = ms_arena_get(arena, MS_PAIR_VERIFIED + 1, sizeof *out->found, "matches", err);
    int rc = out->found ? meet(&m, arena, err) : -MSIM_E_MEMORY;
    if (rc >= 0) rc = find_chains(memory, &m, chains, &n, arena, err);
    for (size_t i = 0; rc >= 0 && i < n && out->n < MS_PAIR_VERIFIED; i++) {
        if (chains[i].score < MS_PAIR_CHAIN_BITS) break;
        if (!is_covered(&chains[i], out))
            rc = verify(memory, query, target, &chains[i], arena, out, err);
    }
    if (rc >= 0 && out->n > 0 && is_nearly_as_many(query->target.n, target->target.n))
        rc = verify_straight(memory, query, target, out->found[0].transpose, arena, out, err);
    if (rc >= 0) qsort(out->found, out->n, sizeof *out->found, ms_verify_compare);
    return rc;
}
