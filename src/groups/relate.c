/* How two contents, and two files, relate: from the pair of their units, and from the key and tempo
 * that each content has among those of its unit. */
#include "groups/groups.h"
#include <math.h>
#include <stddef.h>

int64_t ms_groups_first_file(const msim_groups *g, int64_t content, int collection) {
    const ms_grouped_content *c = &g->contents[content];
    for (int64_t i = 0; i < c->n_files; i++)
        if (g->files[g->by_content[c->first + i]].collection == collection)
            return g->by_content[c->first + i];
    return -1;
}

#define SAME_TEMPO 0.01

const char *msim_pair_kind_name(int kind) {
    static const char *const names[MSIM_PAIR_COUNT] = {"none",  "bytes",   "notes",   "key",
                                                       "piece", "version", "excerpt", "alike"};
    return kind >= 0 && kind < MSIM_PAIR_COUNT ? names[kind] : NULL;
}

msim_file_pair ms_groups_turn(const msim_file_pair *p) {
    msim_file_pair t = *p;
    t.a = p->b;
    t.b = p->a;
    t.direction = -p->direction;
    t.of_a = p->of_b;
    t.of_b = p->of_a;
    t.transpose = -p->transpose;
    t.tempo = p->tempo > 0 ? 1 / p->tempo : 1;
    t.a_from = p->b_from;
    t.a_to = p->b_to;
    t.b_from = p->a_from;
    t.b_to = p->a_to;
    return t;
}

/* The same from either side. */
static int notes_or_key(const msim_file_pair *p) {
    const double change = fmax(p->tempo, 1 / p->tempo) - 1;
    return p->transpose == 0 && change <= SAME_TEMPO ? MSIM_PAIR_NOTES : MSIM_PAIR_KEY;
}

/* Two contents of one unit. */
static msim_file_pair pair_in_unit(const ms_grouped_content *x, const ms_grouped_content *y) {
    msim_file_pair p = {.n_matched = x->n_notes,
                        .of_a = x->n_notes,
                        .of_b = y->n_notes,
                        .transpose = y->shift - x->shift,
                        .tempo = y->stretch / x->stretch,
                        .identity = 1,
                        .a_to = x->seconds,
                        .b_to = y->seconds};
    p.kind = x == y ? MSIM_PAIR_BYTES : notes_or_key(&p);
    return p;
}

msim_file_pair ms_groups_carry(const msim_groups *g, const ms_unit_pair *pair, int64_t content_x,
                               int64_t content_y) {
    const ms_grouped_content *x = &g->contents[content_x], *y = &g->contents[content_y];
    const ms_grouped_content *a = &g->contents[pair->content_a], *b = &g->contents[pair->content_b];
    msim_file_pair p = pair->pair;
    if (p.kind == MSIM_PAIR_ALIKE) return p;
    p.transpose += a->shift - x->shift + y->shift - b->shift;
    p.tempo *= a->stretch / x->stretch * (y->stretch / b->stretch);
    p.a_from *= x->stretch / a->stretch;
    p.a_to *= x->stretch / a->stretch;
    p.b_from *= y->stretch / b->stretch;
    p.b_to *= y->stretch / b->stretch;
    if (p.kind == MSIM_PAIR_NOTES || p.kind == MSIM_PAIR_KEY) p.kind = notes_or_key(&p);
    return p;
}

int ms_groups_relate_contents(const msim_groups *g, int64_t a, int64_t b, msim_file_pair *out) {
    const ms_grouped_content *x = &g->contents[a], *y = &g->contents[b];
    msim_file_pair p = {.kind = MSIM_PAIR_NONE};
    if (x->unit == y->unit) {
        p = pair_in_unit(x, y);
    } else {
        const ms_unit_pair *pair = ms_groups_find_pair(g, x->unit, y->unit);
        if (pair && x->unit < y->unit) {
            p = ms_groups_carry(g, pair, a, b);
        } else if (pair) {
            p = ms_groups_carry(g, pair, b, a);
            p = ms_groups_turn(&p);
        }
    }
    if (out) *out = p;
    return p.kind;
}

int msim_groups_relate(const msim_groups *g, int64_t a, int64_t b, msim_file_pair *out) {
    const int64_t n = (int64_t)g->n_files;
    msim_file_pair p = {.kind = MSIM_PAIR_NONE};
    if (a < 0 || b < 0 || a >= n || b >= n) return MSIM_PAIR_NONE;
    if (g->files[a].content >= 0 && g->files[b].content >= 0)
        (void)ms_groups_relate_contents(g, g->files[a].content, g->files[b].content, &p);
    p.a = a;
    p.b = b;
    if (out) *out = p;
    return p.kind;
}
