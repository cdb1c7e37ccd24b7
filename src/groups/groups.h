/* Groups of a collection, from the inside. Three layers stand above each other, so that work grows
 * with what differs and not with what is there:
 *
 *   file      a name                           many files may have one content
 *   content   the bytes of a file              many contents may have the same notes
 *   unit      the same notes, in any key and at any tempo; one content stands for it
 *
 * Pairs are looked for among units. How two files relate follows from the pair of their units and
 * from the key and tempo of each content. */
#ifndef MS_GROUPS_GROUPS_H
#define MS_GROUPS_GROUPS_H
#include "base/mem.h"
#include "base/status.h"
#include <stdbool.h>

typedef struct {
    const char *name, *path; /* the arena's; path NULL: a piece of an index */
    size_t name_bytes;
    int64_t content; /* -1: it could not be read */
    int64_t bytes;   /* -1: not known */
    int64_t changed; /* seconds since 1970; 0: not known */
    int collection;
    int reason; /* msim_skip_reason: why it has no notes */
    int64_t group, keeper;
    int64_t rank; /* by the rule of what to keep, 0 is best */
} ms_grouped_file;

typedef struct {
    unsigned char hash[MSIM_CONTENT_BYTES];
    int64_t source, piece;  /* where its notes are; piece -1: it has none */
    int reason;             /* msim_skip_reason: why it has none */
    int64_t first, n_files; /* the files that have it are by_content[first ..] */
    int64_t unit;           /* every content has one */
    int64_t n_notes, rank;  /* rank: the best of its files */
    double seconds;         /* where its last note begins */
    double stretch;         /* its seconds for one second of its unit's content */
    int shift;              /* semitones from its unit's content to it */
    int n_tracks;           /* with notes; only when asked for */
    unsigned char sides;    /* bit c: a file of collection c has it */
} ms_grouped_content;

typedef struct {
    int64_t content;           /* the one that stands for it and is compared */
    int64_t first, n_contents; /* its contents are by_unit[first ..] */
    int64_t piece;             /* in the index that is searched; -1: it has no notes */
    int64_t edges, n_edges;    /* its pairs are edges[edges ..] */
    int n_compared;            /* pairs that were compared for the groups */
    unsigned char sides;
    bool is_known; /* an earlier run has compared it with all that were there */
    bool is_there; /* it was there when earlier runs compared others */
} ms_grouped_unit;

/* Two units that were found to relate; units[a] is below units[b]. The numbers are those of two of
 * their contents. */
typedef struct {
    int64_t a, b; /* units */
    int64_t content_a, content_b;
    msim_file_pair pair; /* its files are not set */
} ms_unit_pair;

typedef struct {
    int64_t unit, pair; /* the other unit, and the pair's number */
} ms_unit_edge;

typedef struct {
    msim_notes *notes; /* owned */
    const char *path;  /* the arena's */
} ms_grouped_source;

typedef struct {
    msim_corpus *corpus; /* owned */
    int collection;
} ms_grouped_corpus;

struct msim_groups {
    msim_groups_options o; /* what it points to is the caller's */
    msim_groups_info info;
    ms_arena texts;
    ms_grouped_file *files; /* owned: [n_files], and so on */
    size_t n_files, files_cap;
    ms_grouped_content *contents;
    size_t n_contents, contents_cap;
    int64_t *table; /* [table_size] content + 1 by hash, 0: free */
    size_t table_size;
    int64_t *by_content;
    ms_grouped_unit *units;
    size_t n_units;
    int64_t *by_unit;
    ms_grouped_source *sources;
    size_t n_sources, sources_cap;
    ms_grouped_corpus *corpora; /* only with alike */
    size_t n_corpora, corpora_cap;
    msim_notes *searched; /* the index that is searched: owned, or sources[0]'s */
    bool owns_searched;
    const char *searched_path; /* the arena's */
    int64_t *unit_of_piece;    /* [pieces of searched] */
    ms_unit_pair *pairs;
    size_t n_pairs, pairs_cap;
    ms_unit_edge *edges;
    int64_t *by_group, *group_at; /* files in order of group; [n_groups + 2] where each begins */
};

/* ---- sources.c: what is given, as files, contents and indexes ---- */

int ms_groups_read(msim_groups *g, msim_error *err);
/* The content of this hash, or -1. */
int64_t ms_groups_content(const msim_groups *g, const unsigned char *hash);
/* WORK + ending in the arena; NULL when out of memory. */
const char *ms_groups_path(msim_groups *g, const char *ending, msim_error *err);
/* Tell the caller how far a step is. -MSIM_E_STOPPED when it asks to stop. */
int ms_groups_progress(const msim_groups *g, const char *unit, int64_t done, int64_t all,
                       msim_error *err);

/* ---- units.c: contents of the same notes, and the index of what is left ---- */

int ms_groups_unite(msim_groups *g, msim_error *err);
/* Open the index that is searched, made of one content for each unit. */
int ms_groups_reduce(msim_groups *g, msim_error *err);

/* ---- pairs.c: units that relate ---- */

/* On several ranks all call this; rc: what came before, on rank 0. */
int ms_groups_pair(msim_groups *g, int rc, msim_error *err);
/* Take a match of content a with content b as a pair, if it says something. */
int ms_groups_add_match(msim_groups *g, int64_t content_a, int64_t content_b,
                        const msim_note_match *match, msim_error *err);
/* The same for rows whose cosine is known. */
int ms_groups_add_alike(msim_groups *g, int64_t content_a, int64_t content_b, double cosine,
                        msim_error *err);
/* Put pairs in order, the best one for each two units, and the edges of each unit. */
int ms_groups_order_pairs(msim_groups *g, msim_error *err);
/* The pair of two units, or NULL. */
const ms_unit_pair *ms_groups_find_pair(const msim_groups *g, int64_t u, int64_t v);

/* ---- alike.c: pairs of vectors ---- */

int ms_groups_pair_alike(msim_groups *g, msim_error *err);

/* ---- relate.c: how two contents relate ---- */

/* The first file of a content in a collection, or -1. */
int64_t ms_groups_first_file(const msim_groups *g, int64_t content, int collection);
/* The kind, and the evidence when out is not NULL; its files are not set. */
int ms_groups_relate_contents(const msim_groups *g, int64_t a, int64_t b, msim_file_pair *out);
/* The pair of two units as that of x and y, which are contents of pair->a and pair->b. */
msim_file_pair ms_groups_carry(const msim_groups *g, const ms_unit_pair *pair, int64_t x,
                               int64_t y);
/* The pair as seen from the other side. */
msim_file_pair ms_groups_turn(const msim_file_pair *pair);

/* ---- keep.c: the order in which files are kept; link.c: groups; sides.c: two collections ---- */

int ms_groups_rank(msim_groups *g, msim_error *err);
int ms_groups_link(msim_groups *g, msim_error *err);
int ms_groups_match_sides(msim_groups *g, msim_error *err);

/* Disjoint sets: each points to one that was before it, or to itself. */
static inline int64_t ms_groups_root(int64_t *of, int64_t i) {
    while (of[i] != i) i = of[i] = of[of[i]];
    return i;
}
static inline void ms_groups_join(int64_t *of, int64_t a, int64_t b) {
    a = ms_groups_root(of, a);
    b = ms_groups_root(of, b);
    if (a < b)
        of[b] = a;
    else
        of[a] = b;
}

/* ---- list.c: all pairs of files ---- */

/* Count them by kind. */
int ms_groups_count_pairs(msim_groups *g, msim_error *err);

#endif
