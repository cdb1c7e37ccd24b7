/* Files dealt to sides, so that nothing related is on two. Whatever pairs of any kind connect is
 * one lump; lumps are dealt in an order that the seed and their names decide. Each goes to a side
 * that has room for it, by chance, and the more often the more room there is: so sides have
 * lumps of all kinds. */
#include "base/hash/fnv.h"
#include "base/random.h"
#include "groups/groups.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint64_t folder; /* hash of the folder of its first file; 0 without folders */
    uint64_t chance; /* by the seed and the name of its first file */
    int64_t first;
    double weight; /* files or notes */
    int side;
} split_lump;

static int by_chance(const void *a, const void *b) {
    const split_lump *x = a, *y = b;
    if (x->folder != y->folder) return x->folder < y->folder ? -1 : 1;
    if (x->weight != y->weight) return x->weight > y->weight ? -1 : 1;
    if (x->chance != y->chance) return x->chance < y->chance ? -1 : 1;
    return (x->first > y->first) - (x->first < y->first);
}

/* Connect what any pair connects: of [files], the first of each lump. */
static void find_lumps(const msim_groups *g, int64_t *of) {
    for (size_t f = 0; f < g->n_files; f++) of[f] = (int64_t)f;
    for (size_t u = 0; u < g->n_units; u++)
        for (int64_t i = 0; i < g->units[u].n_contents; i++) {
            const ms_grouped_content *c = &g->contents[g->by_unit[g->units[u].first + i]];
            const int64_t first = g->by_content[g->contents[g->by_unit[g->units[u].first]].first];
            for (int64_t k = 0; k < c->n_files; k++)
                ms_groups_join(of, first, g->by_content[c->first + k]);
        }
    for (size_t i = 0; i < g->n_pairs; i++) {
        const ms_unit_pair *p = &g->pairs[i];
        ms_groups_join(of, g->by_content[g->contents[p->content_a].first],
                       g->by_content[g->contents[p->content_b].first]);
    }
}

/* The folder of a name, without what lies below the first '/': "pop/1/a.mid" is of "pop". */
static uint64_t folder_of(const ms_grouped_file *f) {
    const char *slash = memchr(f->name, '/', f->name_bytes);
    return slash ? ms_fnv1a(f->name, (size_t)(slash - f->name)) | 1 : 1;
}

static double weight_of(const msim_groups *g, const ms_grouped_file *f, int how) {
    const int64_t n = f->content < 0 ? 0 : g->contents[f->content].n_notes;
    return how & MSIM_SPLIT_NOTES && n > 0 ? (double)n : 1;
}

static size_t list_lumps(const msim_groups *g, int64_t *of, uint64_t seed, int how,
                         split_lump *lumps, int64_t *place) {
    size_t n = 0;
    for (size_t f = 0; f < g->n_files; f++) {
        const int64_t root = ms_groups_root(of, (int64_t)f);
        const ms_grouped_file *file = &g->files[f];
        if (root == (int64_t)f) {
            const uint64_t name = ms_fnv1a(file->name, file->name_bytes);
            place[f] = (int64_t)n;
            lumps[n++] = (split_lump){.folder = how & MSIM_SPLIT_FOLDERS ? folder_of(file) : 0,
                                      .chance = ms_random_at(name ^ ms_random_at(seed, 0), 1),
                                      .first = (int64_t)f};
        }
        lumps[place[root]].weight += weight_of(g, file, how);
    }
    return n;
}

/* A side for a lump: by chance among those that have room for all of it, else the roomiest. */
static int choose_side(const double *room, int n_sides, const split_lump *lump) {
    double all = 0, at;
    int roomiest = 0;
    for (int s = 0; s < n_sides; s++) {
        if (room[s] >= lump->weight) all += room[s];
        if (room[s] > room[roomiest]) roomiest = s;
    }
    at = all * (double)(ms_random_at(lump->chance, 1) >> 11) * 0x1p-53;
    for (int s = 0; s < n_sides && all > 0; s++) {
        if (room[s] < lump->weight) continue;
        at -= room[s];
        if (at < 0) return s;
    }
    return roomiest;
}

/* Lumps are in order of folder, the largest of each first. What a folder leaves of room, the next
 * one has. */
static void deal(split_lump *lumps, size_t n, const double *shares, int n_sides, double *room) {
    for (size_t i = 0, next; i < n; i = next) {
        double weight = 0;
        for (next = i; next < n && lumps[next].folder == lumps[i].folder; next++)
            weight += lumps[next].weight;
        for (int s = 0; s < n_sides; s++) room[s] += shares[s] * weight;
        for (size_t k = i; k < next; k++) {
            lumps[k].side = choose_side(room, n_sides, &lumps[k]);
            room[lumps[k].side] -= lumps[k].weight;
        }
    }
}

typedef struct {
    const int *sides;
    int64_t crossing;
} crossing_count;

static int count_crossing(void *user, const msim_file_pair *p) {
    crossing_count *c = user;
    c->crossing += c->sides[p->a] != c->sides[p->b];
    return 0;
}

static int split(const msim_groups *g, const double *shares, int n_sides, uint64_t seed, int how,
                 int *sides, int64_t *lump_of, msim_error *err) {
    int64_t *of = ms_alloc(g->n_files, 2 * sizeof *of, "files", err);
    split_lump *lumps = of ? ms_alloc(g->n_files, sizeof *lumps, "files", err) : NULL;
    double *room = lumps ? ms_alloc((size_t)n_sides, 2 * sizeof *room, "sides", err) : NULL;
    double all = 0;
    if (!room) {
        ms_free(of);
        ms_free(lumps);
        return -MSIM_E_MEMORY;
    }
    for (int s = 0; s < n_sides; s++) all += shares[s];
    for (int s = 0; s < n_sides; s++) room[n_sides + s] = shares[s] / all;
    find_lumps(g, of);
    const size_t n = list_lumps(g, of, seed, how, lumps, of + g->n_files);
    qsort(lumps, n, sizeof *lumps, by_chance);
    deal(lumps, n, room + n_sides, n_sides, room);
    for (size_t i = 0; i < n; i++) sides[lumps[i].first] = lumps[i].side;
    for (size_t f = 0, number = 0; f < g->n_files; f++) {
        const int64_t root = ms_groups_root(of, (int64_t)f);
        sides[f] = sides[root];
        if (lump_of) lump_of[f] = root == (int64_t)f ? (int64_t)++number : lump_of[root];
    }
    ms_free(of);
    ms_free(lumps);
    ms_free(room);
    return MSIM_OK;
}

int msim_groups_split(const msim_groups *g, const double *shares, int n_sides, uint64_t seed,
                      int how, int *sides, int64_t *lumps, int64_t *crossing, msim_error *err) {
    if (n_sides < 1) return ms_fail(err, MSIM_E_ARG, "split: expected sides, got %d", n_sides);
    if (g->o.n_against) return ms_fail(err, MSIM_E_ARG, "split: expected one collection, got two");
    for (int s = 0; s < n_sides; s++)
        if (!(shares[s] > 0) || !isfinite(shares[s]))
            return ms_fail(err, MSIM_E_ARG, "split: expected positive shares, got %g", shares[s]);
    if (how & ~(MSIM_SPLIT_FOLDERS | MSIM_SPLIT_NOTES))
        return ms_fail(err, MSIM_E_ARG, "split: expected bits of MSIM_SPLIT_, got 0x%x",
                       (unsigned)how);
    int rc = split(g, shares, n_sides, seed, how, sides, lumps, err);
    if (rc < 0) return rc;
    crossing_count c = {.sides = sides};
    const int64_t n = msim_groups_pairs(g, count_crossing, &c, err);
    if (crossing) *crossing = c.crossing;
    return n < 0 ? (int)n : MSIM_OK;
}
