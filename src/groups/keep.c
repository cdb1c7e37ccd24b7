/* Which file of a group is kept: all files in one order, the best first. */
#define _GNU_SOURCE
#include "base/text/order.h"
#include "groups/groups.h"
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    double worth; /* more is better */
    int64_t file;
} worth_of_file;

static int by_worth(const void *a, const void *b) {
    const worth_of_file *x = a, *y = b;
    if (x->worth != y->worth) return x->worth > y->worth ? -1 : 1;
    return (x->file > y->file) - (x->file < y->file);
}

/* ---- Tracks ---- */

static int count_tracks(const msim_groups *g, ms_grouped_content *c, msim_error *err) {
    msim_loaded_piece *loaded;
    msim_piece_notes notes = {.size = sizeof notes};
    if (c->piece < 0) return MSIM_OK;
    int rc = msim_notes_load_piece(g->sources[c->source].notes, c->piece, &loaded, &notes, err);
    if (rc < 0) return rc;
    for (size_t v = 0; v < notes.n_voices; v++) /* voices are in order of track */
        c->n_tracks += v == 0 || notes.voices[v].track != notes.voices[v - 1].track;
    msim_notes_free_piece(loaded);
    return MSIM_OK;
}

/* ---- Preferences ---- */

typedef struct {
    const char *text;
    size_t line;
} preference;

static int by_text(const void *a, const void *b) {
    const preference *x = a, *y = b;
    const int order = strcmp(x->text, y->text);
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

/* Names are looked up, patterns tried one after the other. */
typedef struct {
    preference *names, *patterns; /* owned */
    size_t n_names, n_patterns;
} preference_lists;

static int sort_preferences(const msim_groups_options *o, preference_lists *p, msim_error *err) {
    p->names = ms_alloc(o->n_preferences, sizeof *p->names, "preferences", err);
    p->patterns = p->names ? ms_alloc(o->n_preferences, sizeof *p->patterns, "preferences", err)
                           : NULL;
    if (!p->patterns) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < o->n_preferences; i++) {
        const preference it = {o->preferences[i], i};
        p->names[p->n_names++] = it; /* a pattern may be a name, too */
        if (strpbrk(it.text, "*?[")) p->patterns[p->n_patterns++] = it;
    }
    if (p->n_names) qsort(p->names, p->n_names, sizeof *p->names, by_text);
    return MSIM_OK;
}

/* The first line that fits a name, or n. */
static size_t first_line(const preference_lists *p, const char *name, size_t n) {
    size_t low = 0, high = p->n_names;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(p->names[middle].text, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < p->n_names && strcmp(p->names[low].text, name) == 0) n = p->names[low].line;
    for (size_t i = 0; i < p->n_patterns && p->patterns[i].line < n; i++)
        if (fnmatch(p->patterns[i].text, name, 0) == 0) return p->patterns[i].line;
    return n;
}

/* ---- All ---- */

static double worth(const msim_groups *g, const preference_lists *p, const ms_grouped_file *f) {
    static const ms_grouped_content none = {.piece = -1};
    const ms_grouped_content *c = f->content < 0 ? &none : &g->contents[f->content];
    switch (g->o.keep) {
    case MSIM_KEEPER_LONGEST: return c->piece < 0 ? -1 : c->seconds;
    case MSIM_KEEPER_MOST_NOTES: return (double)c->n_notes;
    case MSIM_KEEPER_MOST_TRACKS: return c->n_tracks;
    case MSIM_KEEPER_NEWEST: return (double)f->changed;
    case MSIM_KEEPER_PREFERENCES: return -(double)first_line(p, f->name, g->o.n_preferences);
    default: return 0;
    }
}

static int find_worths(msim_groups *g, worth_of_file *list, msim_error *err) {
    preference_lists p = {0};
    int rc = sort_preferences(&g->o, &p, err);
    for (size_t c = 0; c < g->n_contents && rc >= 0; c++)
        if (g->o.keep == MSIM_KEEPER_MOST_TRACKS) rc = count_tracks(g, &g->contents[c], err);
    for (size_t f = 0; f < g->n_files && rc >= 0; f++)
        list[f] = (worth_of_file){worth(g, &p, &g->files[f]), (int64_t)f};
    ms_free(p.names);
    ms_free(p.patterns);
    return rc;
}

int ms_groups_rank(msim_groups *g, msim_error *err) {
    worth_of_file *list = ms_alloc(g->n_files, sizeof *list, "files", err);
    int rc = list ? find_worths(g, list, err) : -MSIM_E_MEMORY;
    if (rc >= 0) qsort(list, g->n_files, sizeof *list, by_worth);
    for (size_t c = 0; c < g->n_contents; c++) g->contents[c].rank = INT64_MAX;
    for (size_t i = 0; i < g->n_files && rc >= 0; i++) {
        ms_grouped_file *f = &g->files[list[i].file];
        f->rank = (int64_t)i;
        if (f->content >= 0 && g->contents[f->content].rank > f->rank)
            g->contents[f->content].rank = f->rank;
    }
    ms_free(list);
    return rc;
}
