/* Anchors: places where a word of the query and a word of a piece agree, grouped by piece and
 * transposition. */
#ifndef MS_NOTES_FIND_ANCHORS_H
#define MS_NOTES_FIND_ANCHORS_H
#include "notes/find/probe.h"

typedef struct {
    uint32_t query, target;    /* notes: of the query, of the piece */
    uint16_t query_span, span; /* ms + 40, held at 65535 */
    float bits;
} ms_anchor;

/* The anchors of one piece and transposition, in order of target, then query. */
typedef struct {
    uint32_t piece;
    int transpose;      /* to add to the query's pitches */
    float weight;       /* bits of the distinct query notes */
    ms_anchor *anchors; /* [n] */
    size_t n;
    size_t look_back; /* anchors before an anchor that may precede it in a chain; 0: MS_LOOK_BACK */
} ms_group;

/* What restricts a search. */
typedef struct {
    const unsigned char *within;     /* [pieces], or NULL */
    uint32_t first_piece, end_piece; /* of this rank: first_piece .. end_piece - 1 */
    bool is_same_key;
    size_t max_groups;
} ms_anchor_limits;

static inline bool ms_anchor_may_match(const ms_anchor_limits *limits, uint32_t piece) {
    if (piece < limits->first_piece || piece >= limits->end_piece) return false;
    return !limits->within || limits->within[piece];
}

/* The heaviest groups of a query, heaviest first. All arrays are the arena's. */
int ms_anchors_find(const ms_probe *query, const msim_notes *notes, const ms_anchor_limits *limits,
                    ms_arena *arena, ms_group **out, size_t *n_out, msim_error *err);

/* One anchor with its group. */
typedef struct {
    uint64_t group; /* ms_anchor_group; of use to ms_anchors_gather afterwards */
    ms_anchor anchor;
} ms_loose_anchor;
static inline uint64_t ms_anchor_group(uint32_t piece, int transpose) {
    return ((uint64_t)piece << 8 | (unsigned)(transpose + 64)) + 1;
}
/* The heaviest groups of anchors [n], which come in order of query; at most max_groups. */
int ms_anchors_gather(ms_loose_anchor *found, size_t n, size_t max_groups, ms_arena *arena,
                      ms_group **out, size_t *n_out, msim_error *err);
/* Put a group's anchors, which are in order of query, in order of target, then query. Those of one
 * pair of notes become one. */
int ms_anchors_sort(ms_group *group, ms_arena *arena, msim_error *err);
/* The spans, with their 40 ms, of two words that may be one at two tempos. */
static inline bool ms_anchor_is_near_tempo(uint32_t a, uint32_t b) {
    return a <= 4 * b && b <= 4 * a;
}

#endif
