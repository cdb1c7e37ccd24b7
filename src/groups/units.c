/* Contents of the same notes are one unit, so that a piece that lies there in a thousand files is
 * compared with the others once. The index of a collection has a digest of the intervals of each
 * piece; pieces of one digest are laid over each other to see that their rhythm is the same. */
#include "groups/groups.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A short piece in another key is another piece: all files of a single note would be one. Pieces of
 * one digest whose rhythms differ are compared with so many others of it. */
enum { SHORT_NOTES = 16, MANY_RHYTHMS = 64 };
#define SAME_TEMPO 0.01 /* as a match says it */
#define RHYTHM_SECONDS 0.03

/* ---- Contents in order of their first files ---- */

typedef struct {
    int64_t content, file;
} content_file;

static int by_content_file(const void *a, const void *b) {
    const content_file *x = a, *y = b;
    if (x->content != y->content) return x->content < y->content ? -1 : 1;
    return (x->file > y->file) - (x->file < y->file);
}

/* Number contents anew, in order of name. */
static int renumber(msim_groups *g, msim_error *err) {
    int64_t n = 0;
    int64_t *number = ms_alloc(g->n_contents, sizeof *number, "contents", err);
    ms_grouped_content *moved = number ? ms_alloc(g->n_contents, sizeof *moved, "contents", err)
                                       : NULL;
    if (!moved) {
        ms_free(number);
        return -MSIM_E_MEMORY;
    }
    for (size_t f = 0; f < g->n_files; f++) {
        const int64_t c = g->files[f].content;
        if (c < 0) continue;
        if (!number[c]) {
            moved[n] = g->contents[c];
            number[c] = ++n;
        }
        g->files[f].content = number[c] - 1;
    }
    for (size_t i = 0; i < g->table_size; i++)
        if (g->table[i]) g->table[i] = number[g->table[i] - 1];
    ms_free(number);
    ms_free(g->contents);
    g->contents = moved;
    g->contents_cap = g->n_contents;
    g->n_contents = (size_t)n;
    return MSIM_OK;
}

/* The files of each content, and in which collections they are. */
static int list_files(msim_groups *g, msim_error *err) {
    content_file *list = ms_alloc(g->n_files, sizeof *list, "files", err);
    size_t n = 0;
    g->by_content = list ? ms_alloc(g->n_files, sizeof *g->by_content, "files", err) : NULL;
    if (!g->by_content) {
        ms_free(list);
        return -MSIM_E_MEMORY;
    }
    for (size_t f = 0; f < g->n_files; f++)
        if (g->files[f].content >= 0) list[n++] = (content_file){g->files[f].content, (int64_t)f};
    if (n) qsort(list, n, sizeof *list, by_content_file);
    for (size_t i = 0; i < n; i++) {
        ms_grouped_content *c = &g->contents[list[i].content];
        if (c->n_files++ == 0) c->first = (int64_t)i;
        c->sides |= (unsigned char)(1 << g->files[list[i].file].collection);
        g->by_content[i] = list[i].file;
        if (c->piece < 0) g->info.without_notes++;
    }
    ms_free(list);
    return MSIM_OK;
}

/* ---- The same notes ---- */

typedef struct {
    uint64_t digest;
    int64_t n_notes, content;
} digested;

static int by_digest(const void *a, const void *b) {
    const digested *x = a, *y = b;
    if (x->digest != y->digest) return x->digest < y->digest ? -1 : 1;
    if (x->n_notes != y->n_notes) return x->n_notes < y->n_notes ? -1 : 1;
    return (x->content > y->content) - (x->content < y->content);
}

typedef struct {
    int64_t content;
    msim_loaded_piece *loaded; /* owned */
    msim_piece_notes notes;
} unit_notes;

static int load(const msim_groups *g, int64_t content, unit_notes *out, msim_error *err) {
    const ms_grouped_content *c = &g->contents[content];
    *out = (unit_notes){.content = content, .notes = {.size = sizeof out->notes}};
    return msim_notes_load_piece(g->sources[c->source].notes, c->piece, &out->loaded, &out->notes,
                                 err);
}

/* The line of least squares from the onsets of x to those of y. False when they are not on it. */
static bool fit_line(const msim_piece_notes *x, const msim_piece_notes *y, double *slope) {
    const double n = (double)x->n_notes;
    double sx = 0, sy = 0, sxx = 0, sxy = 0, rest = 0;
    for (size_t i = 0; i < x->n_notes; i++) {
        sx += x->notes[i].start_ms;
        sy += y->notes[i].start_ms;
    }
    for (size_t i = 0; i < x->n_notes; i++) {
        const double dx = x->notes[i].start_ms - sx / n, dy = y->notes[i].start_ms - sy / n;
        sxx += dx * dx;
        sxy += dx * dy;
    }
    *slope = sxx > 0 ? sxy / sxx : 1;
    for (size_t i = 0; i < x->n_notes; i++) {
        const double dx = x->notes[i].start_ms - sx / n, dy = y->notes[i].start_ms - sy / n;
        rest += (dy - *slope * dx) * (dy - *slope * dx);
    }
    return *slope > 0 && sqrt(rest / n) < RHYTHM_SECONDS * 1000;
}

/* Whether y has the notes of x, in any key and at any tempo; in a short piece, in the same. */
static bool has_same_notes(const msim_piece_notes *x, const msim_piece_notes *y, int *shift,
                           double *slope) {
    if (x->n_notes != y->n_notes || x->n_notes == 0) return false;
    *shift = y->notes[0].pitch - x->notes[0].pitch;
    for (size_t i = 0; i < x->n_notes; i++)
        if (y->notes[i].pitch - x->notes[i].pitch != *shift) return false;
    if (!fit_line(x, y, slope)) return false;
    return x->n_notes >= SHORT_NOTES || (*shift == 0 && fabs(*slope - 1) <= SAME_TEMPO);
}

/* The contents of one digest: each is put with the first that has its notes. */
static int unite_digest(msim_groups *g, const digested *list, size_t n, msim_error *err) {
    unit_notes known[MANY_RHYTHMS];
    size_t n_known = 0;
    int rc = MSIM_OK;
    for (size_t i = 0; i < n && rc >= 0; i++) {
        unit_notes own;
        size_t k = 0;
        int shift = 0;
        double slope = 1;
        rc = load(g, list[i].content, &own, err);
        if (rc < 0) break;
        while (k < n_known && !has_same_notes(&known[k].notes, &own.notes, &shift, &slope)) k++;
        ms_grouped_content *c = &g->contents[list[i].content];
        if (k < n_known) {
            c->unit = known[k].content;
            c->shift = shift;
            c->stretch = slope;
        }
        if (k == n_known && n_known < MANY_RHYTHMS)
            known[n_known++] = own;
        else
            msim_notes_free_piece(own.loaded);
    }
    while (n_known) msim_notes_free_piece(known[--n_known].loaded);
    return rc;
}

/* Sets the unit of each content to the first content of the same notes. */
static int unite_contents(msim_groups *g, msim_error *err) {
    digested *list = ms_alloc(g->n_contents, sizeof *list, "pieces", err);
    size_t n = 0;
    int rc = list ? MSIM_OK : -MSIM_E_MEMORY;
    for (size_t i = 0; i < g->n_contents && rc >= 0; i++) {
        ms_grouped_content *c = &g->contents[i];
        msim_notes_piece p = {.size = sizeof p};
        c->unit = (int64_t)i;
        c->stretch = 1;
        if (c->piece < 0) continue;
        if (msim_notes_get_piece(g->sources[c->source].notes, c->piece, &p) < 0)
            rc = ms_fail(err, MSIM_E_FORMAT, "the note index is damaged: build it again");
        else
            list[n++] = (digested){p.digest, p.n_notes, (int64_t)i};
    }
    if (n && rc >= 0) qsort(list, n, sizeof *list, by_digest);
    for (size_t i = 0, next; i < n && rc >= 0; i = next) {
        for (next = i + 1; next < n && list[next].digest == list[i].digest &&
                           list[next].n_notes == list[i].n_notes;
             next++) {
        }
        if (next > i + 1) rc = unite_digest(g, list + i, next - i, err);
    }
    g->info.pieces = (int64_t)n;
    ms_free(list);
    return rc;
}

static int list_units(msim_groups *g, msim_error *err) {
    g->units = ms_alloc(g->n_contents, sizeof *g->units, "pieces", err);
    g->by_unit = g->units ? ms_alloc(g->n_contents, sizeof *g->by_unit, "pieces", err) : NULL;
    if (!g->by_unit) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < g->n_contents; i++) {
        ms_grouped_content *c = &g->contents[i];
        if (c->unit == (int64_t)i) {
            c->unit = (int64_t)g->n_units++;
            g->units[c->unit] = (ms_grouped_unit){.content = (int64_t)i, .piece = -1};
        } else {
            c->unit = g->contents[c->unit].unit; /* the first has its number already */
        }
        g->units[c->unit].n_contents++;
        g->units[c->unit].sides |= c->sides;
    }
    int64_t at = 0;
    for (size_t u = 0; u < g->n_units; u++) {
        g->units[u].first = at;
        at += g->units[u].n_contents;
        g->units[u].n_contents = 0;
    }
    for (size_t i = 0; i < g->n_contents; i++) {
        ms_grouped_unit *u = &g->units[g->contents[i].unit];
        g->by_unit[u->first + u->n_contents++] = (int64_t)i;
    }
    return MSIM_OK;
}

int ms_groups_unite(msim_groups *g, msim_error *err) {
    int rc = renumber(g, err);
    if (rc >= 0) rc = list_files(g, err);
    if (rc >= 0) rc = unite_contents(g, err);
    if (rc >= 0) rc = list_units(g, err);
    g->info.files = (int64_t)g->n_files;
    g->info.contents = (int64_t)g->n_contents;
    return rc;
}

/* ---- The index that is searched ---- */

typedef struct {
    const msim_groups *g;
    int64_t source;
} unit_chooser;

/* Whether a piece of a source stands for a unit. */
static int stands_for_unit(void *user, int64_t piece) {
    const unit_chooser *c = user;
    msim_notes_piece p = {.size = sizeof p};
    if (msim_notes_get_piece(c->g->sources[c->source].notes, piece, &p) < 0) return 0;
    const int64_t content = ms_groups_content(c->g, p.content);
    if (content < 0) return 0;
    const ms_grouped_content *its = &c->g->contents[content];
    return its->source == c->source && its->piece == piece &&
           c->g->units[its->unit].content == content;
}

static bool is_reduced(const msim_groups *g) {
    msim_notes_info info = {.size = sizeof info};
    unit_chooser c = {.g = g};
    if (g->n_sources != 1) return false;
    (void)msim_notes_get_info(g->sources[0].notes, &info);
    for (int64_t p = 0; p < info.pieces; p++)
        if (!stands_for_unit(&c, p)) return false;
    return true;
}

static int write_reduced(msim_groups *g, const char *path, msim_error *err) {
    msim_notes_options o = msim_notes_options_default();
    msim_notes_info info = {.size = sizeof info};
    msim_notes_builder *builder;
    unit_chooser *choosers = ms_alloc(g->n_sources, sizeof *choosers, "indexes", err);
    if (!choosers) return -MSIM_E_MEMORY;
    (void)msim_notes_get_info(g->sources[0].notes, &info);
    o.density = info.density;
    o.leaves_out_bottom = !info.has_bottom;
    int rc = msim_notes_builder_open(path, &o, &builder, err);
    for (size_t s = 0; s < g->n_sources && rc >= 0; s++) {
        choosers[s] = (unit_chooser){.g = g, .source = (int64_t)s};
        rc = msim_notes_builder_add_index(builder, g->sources[s].notes, stands_for_unit,
                                          &choosers[s], err);
    }
    if (rc >= 0) rc = msim_notes_builder_finish(builder, err);
    msim_notes_builder_close(builder);
    ms_free(choosers);
    return rc;
}

static int map_pieces(msim_groups *g, msim_error *err) {
    msim_notes_info info = {.size = sizeof info};
    (void)msim_notes_get_info(g->searched, &info);
    g->unit_of_piece = ms_alloc((size_t)info.pieces, sizeof *g->unit_of_piece, "pieces", err);
    if (!g->unit_of_piece) return -MSIM_E_MEMORY;
    for (int64_t i = 0; i < info.pieces; i++) {
        msim_notes_piece p = {.size = sizeof p};
        const int64_t content =
            msim_notes_get_piece(g->searched, i, &p) < 0 ? -1 : ms_groups_content(g, p.content);
        if (content < 0) return ms_fail(err, MSIM_E_FORMAT, "the note index is damaged");
        g->unit_of_piece[i] = g->contents[content].unit;
        g->units[g->unit_of_piece[i]].piece = i;
    }
    return MSIM_OK;
}

int ms_groups_reduce(msim_groups *g, msim_error *err) {
    if (g->info.pieces == 0) return MSIM_OK;
    if (is_reduced(g)) {
        g->searched = g->sources[0].notes;
        g->searched_path = g->sources[0].path;
        return map_pieces(g, err);
    }
    g->searched_path = ms_groups_path(g, ".part.notes", err);
    int rc = g->searched_path ? write_reduced(g, g->searched_path, err) : -MSIM_E_MEMORY;
    if (rc >= 0) rc = msim_notes_open(g->searched_path, &g->searched, err);
    g->owns_searched = rc >= 0;
    return rc < 0 ? rc : map_pieces(g, err);
}
