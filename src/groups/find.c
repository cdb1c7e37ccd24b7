/* Groups of a collection: the public functions of include/midisim.h. */
#include "base/sized.h"
#include "groups/groups.h"
#include <string.h>
#include <unistd.h>

enum {
    DEFAULT_KINDS = 1 << MSIM_PAIR_BYTES | 1 << MSIM_PAIR_NOTES | 1 << MSIM_PAIR_KEY |
                    1 << MSIM_PAIR_PIECE
};

void msim_groups_options_init(msim_groups_options *options) {
    const msim_groups_options defaults = {
        .size = sizeof defaults, .kinds = DEFAULT_KINDS, .evalue = 1e-3};
    (void)ms_sized_out(options, &defaults, sizeof defaults);
}

static int check(const msim_groups *g, msim_error *err) {
    const msim_groups_options *o = &g->o;
    if (!o->work) return ms_fail(err, MSIM_E_ARG, "groups: expected a path in work, got none");
    if (o->n_paths == 0 && !o->files_from)
        return ms_fail(err, MSIM_E_ARG, "groups: expected paths, got none");
    if (o->link < 0 || o->link > MSIM_LINK_SINGLE || o->keep < 0 ||
        o->keep > MSIM_KEEPER_PREFERENCES)
        return ms_fail(err, MSIM_E_ARG, "groups: a link or keep that does not exist");
    if (!(o->evalue >= 0))
        return ms_fail(err, MSIM_E_ARG, "groups: expected an evalue from 0 on, got %g", o->evalue);
    if (!(o->alike >= 0 && o->alike <= 1))
        return ms_fail(err, MSIM_E_ARG, "groups: expected alike in 0..1, got %g", o->alike);
    if (o->keep == MSIM_KEEPER_PREFERENCES && o->n_preferences == 0)
        return ms_fail(err, MSIM_E_ARG, "groups: expected preferences, got none");
    return MSIM_OK;
}

/* Rank 0: everything but the search for pairs, which all ranks do together. */
static int prepare(msim_groups *g, msim_error *err) {
    int rc = check(g, err);
    if (rc >= 0) rc = ms_groups_read(g, err);
    if (rc >= 0) rc = ms_groups_unite(g, err);
    return rc < 0 ? rc : ms_groups_reduce(g, err);
}

static int make_groups(msim_groups *g, msim_error *err) {
    int rc = ms_groups_rank(g, err);
    if (rc >= 0) rc = g->o.n_against ? ms_groups_match_sides(g, err) : ms_groups_link(g, err);
    return rc < 0 ? rc : ms_groups_count_pairs(g, err);
}

/* The index that was made for this run. */
static void remove_reduced(msim_groups *g) {
    if (g->owns_searched && g->searched_path) (void)unlink(g->searched_path);
}

int msim_groups_find(const msim_groups_options *options, msim_groups **out, msim_error *err) {
    msim_error own;
    *out = NULL;
    if (!err) err = &own;
    msim_groups *g = ms_alloc(1, sizeof *g, "groups", err);
    if (!g) return -MSIM_E_MEMORY;
    ms_arena_init(&g->texts, 0);
    g->info.size = sizeof g->info;
    g->o.size = sizeof g->o;
    msim_groups_options_init(&g->o);
    int rc = ms_sized_in(&g->o, sizeof g->o, options, "msim_groups_options", err);
    if (g->o.ranks && g->o.ranks->count < 2) g->o.ranks = NULL;
    const bool is_first = !g->o.ranks || g->o.ranks->index == 0;
    if (rc >= 0 && is_first) rc = prepare(g, err);
    rc = ms_groups_pair(g, rc, err);
    remove_reduced(g);
    if (rc >= 0 && is_first) rc = make_groups(g, err);
    if (g->o.ranks) rc = g->o.ranks->agree(g->o.ranks->user, rc, err);
    if (rc < 0) {
        msim_groups_close(g);
        return rc;
    }
    *out = g;
    return MSIM_OK;
}

void msim_groups_close(msim_groups *g) {
    if (!g) return;
    if (g->owns_searched) msim_notes_close(g->searched);
    for (size_t i = 0; i < g->n_corpora; i++) msim_corpus_close(g->corpora[i].corpus);
    for (size_t i = 0; i < g->n_sources; i++) msim_notes_close(g->sources[i].notes);
    void *const blocks[] = {g->files,    g->contents, g->table,         g->by_content, g->units,
                            g->by_unit,  g->sources,  g->unit_of_piece, g->pairs,      g->edges,
                            g->by_group, g->group_at, g->corpora};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) ms_free(blocks[i]);
    ms_arena_free(&g->texts);
    ms_free(g);
}

/* ---- What was found ---- */

int msim_groups_get_info(const msim_groups *g, msim_groups_info *out) {
    return ms_sized_out(out, &g->info, sizeof g->info);
}

int msim_groups_get_file(const msim_groups *g, int64_t file, msim_groups_file *out) {
    if (file < 0 || (size_t)file >= g->n_files) return -MSIM_E_ARG;
    const ms_grouped_file *f = &g->files[file];
    const ms_grouped_content *c = f->content < 0 ? NULL : &g->contents[f->content];
    const msim_groups_file its = {.size = sizeof its,
                                  .name = f->name,
                                  .name_bytes = f->name_bytes,
                                  .path = f->path,
                                  .collection = f->collection,
                                  .reason = f->reason,
                                  .group = f->group,
                                  .keeper = f->keeper,
                                  .bytes = f->bytes,
                                  .n_notes = c ? c->n_notes : 0,
                                  .seconds = c ? c->seconds : 0,
                                  .is_unread = !c};
    return ms_sized_out(out, &its, sizeof its);
}

int64_t msim_groups_get_members(const msim_groups *g, int64_t group, const int64_t **files) {
    if (group < 1 || group > g->info.groups + g->info.singles) return -MSIM_E_ARG;
    *files = g->by_group + g->group_at[group];
    return g->group_at[group + 1] - g->group_at[group];
}
