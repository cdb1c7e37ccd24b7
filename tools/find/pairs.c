/* midisim-find --pairs and --groups: the pieces of an index against each other. Contract:
 * tools/find/find.h. */
#include "base/mem.h"
#include "common/texts/tsv.h"
#include "common/ranks.h"
#include "find.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    ms_find_out *out;
    int64_t n_pieces;
    int64_t *joined;      /* owned: [pieces] union-find: the piece that stands for its group */
    int64_t *attached_to; /* owned: [pieces] the piece that this one is a part of; -1: none */
    int64_t n_pairs;
} group_pairing;

/* ---- Pairs ---- */

static char *name_of(const msim_notes *notes, int64_t piece, msim_error *err) {
    msim_notes_piece p = {.size = sizeof p};
    if (msim_notes_get_piece(notes, piece, &p) < 0) p.name_bytes = 0;
    char *name = ms_alloc(p.name_bytes + 1, 1, "a name", err);
    if (name && p.name_bytes) memcpy(name, p.name, p.name_bytes);
    return name;
}

/* A pair is printed as a query with one match. */
static int print_pair(void *user, int64_t a, const msim_note_match *match) {
    group_pairing *p = user;
    msim_error err = {0};
    msim_loaded_piece *loaded = NULL;
    msim_piece_notes piece = {.size = sizeof piece};
    msim_note_match copy = *match;
    ms_asked q = {.label = name_of(p->out->notes, a, &err), .matches = &copy, .n_matches = 1};
    int rc = q.label ? msim_notes_load_piece(p->out->notes, a, &loaded, &piece, &err)
                     : -MSIM_E_MEMORY;
    if (rc >= 0) {
        q.bars = (msim_bar *)piece.bars;
        q.n_bars = piece.n_bars;
        q.n_notes = piece.n_notes;
        rc = ms_find_print(p->out, &q);
    } else {
        ms_cli_error("%s", err.text);
    }
    msim_notes_free_piece(loaded);
    ms_free(q.label);
    p->n_pairs++;
    return rc < 0 || ms_cli_stopped();
}

/* ---- Groups ---- */

static int64_t group_of(const group_pairing *p, int64_t piece) {
    while (p->joined[piece] != piece) piece = p->joined[piece];
    return piece;
}

/* The same notes and the same piece join groups. A part attaches to its whole, which joins
 * nothing: a medley is no reason to call its pieces one. */
static int join_pair(void *user, int64_t a, const msim_note_match *m) {
    group_pairing *p = user;
    p->n_pairs++;
    if (m->relation == MSIM_RELATION_SAME_NOTES || m->relation == MSIM_RELATION_SAME_PIECE) {
        const int64_t x = group_of(p, a), y = group_of(p, m->piece);
        if (x < y)
            p->joined[y] = x;
        else
            p->joined[x] = y;
    }
    if (m->relation == MSIM_RELATION_PART_OF && p->attached_to[a] < 0) p->attached_to[a] = m->piece;
    return ms_cli_stopped() != 0;
}

static int print_member(const group_pairing *p, int64_t group, int64_t piece, int64_t whole) {
    msim_error err;
    char *name = name_of(p->out->notes, piece, &err),
         *of = name && whole >= 0 ? name_of(p->out->notes, whole, &err) : NULL;
    if (!name || (whole >= 0 && !of)) {
        ms_free(name);
        ms_cli_error("%s", err.text);
        return -MSIM_E_MEMORY;
    }
    (void)ms_cli_print("%lld\t", (long long)group);
    (void)ms_tsv_write(name, strlen(name));
    (void)ms_cli_print(of ? "\tpart of " : "\t");
    if (of) (void)ms_tsv_write(of, strlen(of));
    ms_free(name);
    ms_free(of);
    return ms_cli_write("\n", 1);
}

/* Which group each piece is printed in: its own, or, where it has no other member, that of the
 * piece that it is a part of. */
static int64_t shown_group(const group_pairing *p, const int64_t *sizes, int64_t piece,
                           int64_t *whole) {
    const int64_t own = group_of(p, piece), to = p->attached_to[piece];
    *whole = -1;
    if (sizes[own] > 1 || to < 0) return own;
    const int64_t other = group_of(p, to);
    if (sizes[other] == 1 && p->attached_to[to] >= 0) return own; /* itself a part */
    *whole = to;
    return other;
}

static int print_groups(const group_pairing *p) {
    msim_error err;
    const size_t n = (size_t)p->n_pieces;
    int64_t n_groups = 0, whole;
    int rc = ms_cli_print("group\tname\tnote\n");
    int64_t *sizes = ms_alloc(n, sizeof *sizes, "groups", &err);
    int64_t *shown = sizes ? ms_alloc(n, sizeof *shown, "groups", &err) : NULL;
    int64_t *number = shown ? ms_alloc(n, sizeof *number, "groups", &err) : NULL;
    if (!number) {
        ms_cli_error("%s", err.text);
        rc = -MSIM_E_MEMORY;
    }
    for (int64_t i = 0; i < p->n_pieces && rc >= 0; i++) sizes[group_of(p, i)]++;
    for (int64_t i = 0; i < p->n_pieces && rc >= 0; i++) shown[shown_group(p, sizes, i, &whole)]++;
    for (int64_t i = 0; i < p->n_pieces && rc >= 0; i++) {
        const int64_t first = shown_group(p, sizes, i, &whole);
        if (shown[first] < 2 || number[first]) continue;
        number[first] = ++n_groups;
        for (int64_t k = i; k < p->n_pieces && rc >= 0; k++)
            if (shown_group(p, sizes, k, &whole) == first) rc = print_member(p, n_groups, k, whole);
    }
    ms_free(sizes);
    ms_free(shown);
    ms_free(number);
    return rc;
}

int ms_find_pairs(const ms_find_settings *s, ms_find_out *out) {
    group_pairing p = {.out = out};
    msim_error err = {0};
    msim_notes_info info = {.size = sizeof info};
    msim_pairs_options o = msim_pairs_options_default();
    o.gives_both = 1;
    o.threads = ms_cli_threads(&s->common);
    o.evalue = s->evalue;
    o.is_same_key = s->is_same_key;
    o.is_same_tempo = s->is_same_tempo;
    o.ranks = ms_ranks_table();
    (void)msim_notes_get_info(out->notes, &info);
    p.n_pieces = info.pieces;
    p.joined = ms_alloc((size_t)info.pieces, sizeof *p.joined, "groups", &err);
    p.attached_to = p.joined ? ms_alloc((size_t)info.pieces, sizeof *p.attached_to, "groups", &err)
                             : NULL;
    int64_t rc = p.attached_to ? 0 : -MSIM_E_MEMORY;
    for (int64_t i = 0; i < info.pieces && rc >= 0; i++) {
        p.joined[i] = i;
        p.attached_to[i] = -1;
    }
    if (rc >= 0)
        rc = msim_notes_pairs(out->notes, &o, s->is_groups ? join_pair : print_pair, &p, &err);
    if (rc < 0 && err.text[0] && !ms_cli_stopped()) ms_cli_error("%s", err.text);
    if (rc >= 0 && s->is_groups) rc = print_groups(&p);
    ms_free(p.joined);
    ms_free(p.attached_to);
    return rc < 0 ? (int)rc : p.n_pairs ? 0 : -MSIM_E_EMPTY;
}
