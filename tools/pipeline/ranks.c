/* midisim-embed on several ranks. Contract: tools/pipeline/embed.h; docs/SCALE.md.
 *
 * Rank 0 prepares the run as a single process does. It alone walks the folders, so that the file
 * servers are asked once and all ranks have the same list, and sends the others what is left to be
 * done: entries, and the contents that are known. Then all work alike, each with a journal of its
 * own, CORPUS.npy.rank-N.journal. What comes next is a number in rank 0's memory that each rank
 * raises by itself: numbers stand for blocks of entries, whose sizes all ranks compute alike, fewer
 * towards the end so that all end together. At last rank 0 takes the journals over into its own, as
 * a later run of any number of processes would, and writes the corpus as a single process does. */
#define _GNU_SOURCE
#include "embed.h"
#include "common/ranks.h"
#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_MOST 64           /* entries */
#define BLOCKS_LEFT 4           /* a block is at most such a part of what is left for each rank */
#define AHEAD 64                /* files that a rank reads ahead */
#define CHUNK ((size_t)4 << 20) /* bytes of the list sent at a time */
#define NO_MORE ((int64_t)1 << 40)
#define RANK_MARK ".rank-"

struct ms_embed_part {
    char *corpus;             /* owned: what this rank's journal is named after; NULL for rank 0 */
    uint32_t *todo;           /* owned: [n] entries that are left to be done, on rank 0; elsewhere
                               * the list is just those */
    int64_t n, at, end;       /* how many; the block in hand */
    int64_t number, start;    /* a block, and where it begins */
    int64_t n_mine;           /* entries of the blocks that this rank took */
    _Atomic int64_t n_others; /* entries that others took, as far as is known */
};

/* What rank 0 tells the others. */
typedef struct {
    int prepared; /* what its preparation gave */
    ms_description about;
    int64_t n_done, n_todo;
} plan;

/* An entry on its way; its path with a final NUL follows. */
typedef struct {
    int64_t bytes, mtime_ns;
    uint32_t path_bytes, name_at, name_len, relative_at;
    bool is_named;
} packed_entry;

void ms_embed_part_free(ms_embed_part *p) {
    if (!p) return;
    free(p->corpus);
    free(p->todo);
    free(p);
}

/* CORPUS.npy.rank-N: owned. */
static char *rank_corpus(const char *output, int64_t rank) {
    size_t cap = strlen(output) + 40;
    char *path = ms_cli_alloc(cap, 1);
    snprintf(path, cap, "%s" RANK_MARK "%lld", output, (long long)rank);
    return path;
}

/* ---- Handing out ---- */

static int64_t block_size(const ms_embed_part *p) {
    int64_t n = (p->n - p->start) / (BLOCKS_LEFT * ms_ranks_count());
    return n < 1 ? 1 : n > BLOCK_MOST ? BLOCK_MOST : n;
}

static bool take_block(ms_embed_part *p) {
    int64_t wanted = ms_ranks_counter_add(1);
    while (p->number < wanted && p->start < p->n) {
        p->start += block_size(p);
        p->number++;
    }
    atomic_store(&p->n_others, (p->start < p->n ? p->start : p->n) - p->n_mine);
    if (p->start >= p->n) return false;
    p->at = p->start;
    p->end = p->start + block_size(p);
    p->n_mine += p->end - p->at;
    return true;
}

static bool take(void *user, size_t *index) {
    ms_embed_part *p = user;
    if (p->at == p->end && !take_block(p)) return false;
    *index = p->todo ? p->todo[p->at] : (size_t)p->at;
    p->at++;
    return true;
}

int64_t ms_embed_taken_elsewhere(const ms_embed_run *r) {
    return r->part ? atomic_load(&r->part->n_others) : 0;
}

/* ---- The list ---- */

typedef struct {
    unsigned char *bytes; /* owned */
    size_t n, cap;
} chunk;

/* From rank 0: the chunk's bytes, none at the end. False then. */
static bool send_chunk(chunk *c) {
    int64_t n = (int64_t)c->n;
    ms_ranks_broadcast(0, &n, sizeof n);
    c->bytes = ms_cli_grow(c->bytes, &c->cap, (size_t)n, 1);
    if (n) ms_ranks_broadcast(0, c->bytes, (size_t)n);
    c->n = ms_ranks_index() == 0 ? 0 : (size_t)n;
    return n > 0;
}

static void put(chunk *c, const void *bytes, size_t n) {
    c->bytes = ms_cli_grow(c->bytes, &c->cap, c->n + n, 1);
    memcpy(c->bytes + c->n, bytes, n);
    c->n += n;
}

static void send_list(const ms_embed_run *r) {
    chunk c = {0};
    for (int64_t i = 0; i < r->part->n; i++) {
        const ms_files_entry *e = r->inputs.files.entries + r->part->todo[i];
        packed_entry packed = {.bytes = e->bytes,
                               .mtime_ns = e->mtime_ns,
                               .path_bytes = (uint32_t)strlen(e->path) + 1,
                               .name_at = e->name_at,
                               .name_len = e->name_len,
                               .relative_at = e->relative_at,
                               .is_named = e->is_named};
        put(&c, &packed, sizeof packed);
        put(&c, e->path, packed.path_bytes);
        if (c.n >= CHUNK) (void)send_chunk(&c);
    }
    if (c.n) (void)send_chunk(&c);
    (void)send_chunk(&c);
    for (size_t i = 0; i < ms_dedup_count(r->inputs.contents); i++) {
        ms_dedup_entry content = ms_dedup_get(r->inputs.contents, (uint32_t)i);
        if (content.state != MS_DEDUP_JOURNAL && content.state != MS_DEDUP_BASE) continue;
        put(&c, content.key, sizeof content.key);
        if (c.n >= CHUNK) (void)send_chunk(&c);
    }
    if (c.n) (void)send_chunk(&c);
    (void)send_chunk(&c);
    free(c.bytes);
}

static void receive_list(ms_embed_run *r) {
    chunk c = {0};
    packed_entry packed;
    while (send_chunk(&c))
        for (size_t at = 0; at < c.n; at += sizeof packed + packed.path_bytes) {
            memcpy(&packed, c.bytes + at, sizeof packed);
            ms_files_entry *e =
                ms_files_list_add(&r->inputs.files, (const char *)c.bytes + at + sizeof packed);
            e->name_at = packed.name_at;
            e->name_len = packed.name_len;
            e->relative_at = packed.relative_at;
            e->is_named = packed.is_named;
            e->bytes = packed.bytes;
            e->mtime_ns = packed.mtime_ns;
            e->reason = MS_FILES_OK;
        }
    ms_manifest_open(&r->inputs);
    /* Where rank 0 has what they came to does not matter here. */
    while (send_chunk(&c))
        for (size_t at = 0; at + MS_DEDUP_KEY <= c.n; at += MS_DEDUP_KEY)
            ms_dedup_settle(r->inputs.contents, ms_dedup_find(r->inputs.contents, c.bytes + at),
                            MS_DEDUP_BASE, 0, MS_FILES_OK, false);
    free(c.bytes);
}

/* ---- Before the work ---- */

static void find_todo(ms_embed_run *r) {
    const ms_manifest *in = &r->inputs;
    r->part->todo = ms_cli_alloc(in->files.n, sizeof *r->part->todo);
    for (size_t i = 0; i < in->files.n; i++)
        if (in->content[i] == MS_DEDUP_NONE && in->files.entries[i].reason == MS_FILES_OK)
            r->part->todo[r->part->n++] = (uint32_t)i;
}

/* A rank's own journal. One that is there is of a run that rank 0 knows of, and has taken over. */
static int begin_journal(ms_embed_run *r, msim_error *err) {
    r->part->corpus = rank_corpus(r->s->output, ms_ranks_index());
    int rc = ms_journal_open(r->part->corpus, &r->journal, err);
    return rc < 0 ? rc : ms_journal_begin(r->journal, &r->about, err);
}

int ms_embed_share(ms_embed_run *r, int rc, msim_error *err) {
    bool is_first = ms_ranks_index() == 0;
    plan p = {.prepared = rc};
    if (ms_ranks_count() == 1) return rc;
    rc = ms_ranks_agree(rc, err);
    if (rc < 0) return rc;
    r->part = ms_cli_alloc(1, sizeof *r->part);
    if (is_first && rc == 0) {
        find_todo(r);
        p.about = r->about;
        p.n_todo = r->part->n;
        p.n_done = (int64_t)r->inputs.files.n - p.n_todo;
    }
    ms_ranks_broadcast(0, &p, sizeof p);
    if (p.prepared != 0) return p.prepared;
    r->part->n = p.n_todo;
    rc = ms_ranks_agree(is_first ? 0 : ms_embed_join(r, &p.about, err), err);
    if (rc < 0) return rc;
    if (is_first) {
        send_list(r);
    } else {
        receive_list(r);
        rc = begin_journal(r, err);
    }
    rc = ms_ranks_agree(rc, err);
    if (rc < 0) return rc;
    ms_ranks_counter_open();
    atomic_store(&r->part->n_others, 0);
    r->take = take;
    r->take_user = r->part;
    r->ahead = AHEAD;
    return 0;
}

/* ---- After the work ---- */

static int absorb_ranks(ms_embed_run *r, msim_error *err) {
    int rc = 0;
    for (int rank = 1; rank < ms_ranks_count() && rc >= 0; rank++) {
        char *corpus = rank_corpus(r->s->output, rank);
        rc = ms_embed_absorb(r, corpus, true, err);
        free(corpus);
    }
    if (rc >= 0) ms_manifest_complete(&r->inputs);
    return rc;
}

int ms_embed_gather(ms_embed_run *r, int rc, msim_error *err) {
    if (!r->part) return rc;
    /* the others need not go on either */
    if (rc < 0 || ms_cli_stopped()) ms_ranks_counter_add(NO_MORE);
    rc = ms_ranks_agree(rc, err);
    ms_ranks_counter_close();
    if (rc < 0 || ms_ranks_stopped()) return rc;
    int64_t sums[2] = {r->n_read, r->stats.n_tokens};
    ms_ranks_sum(sums, 2);
    r->n_read = sums[0];
    r->stats.n_tokens = sums[1];
    if (ms_ranks_index() > 0) {
        ms_journal_close(r->journal);
        r->journal = NULL;
    }
    rc = ms_ranks_agree(rc, err); /* all are closed */
    if (rc >= 0 && ms_ranks_index() == 0) rc = absorb_ranks(r, err);
    return ms_ranks_agree(rc, err);
}

/* ---- What earlier runs left ---- */

/* The journal of a rank of this corpus: CORPUS.npy.rank-N.journal. */
static bool is_rank_journal(const char *name, const char *base, long long *rank) {
    size_t n = strlen(base), mark = strlen(RANK_MARK);
    int end = 0;
    if (strncmp(name, base, n) != 0 || strncmp(name + n, RANK_MARK, mark) != 0) return false;
    const char *number = name + n + mark;
    return *number >= '1' && *number <= '9' && sscanf(number, "%9lld.journal%n", rank, &end) == 1 &&
           end && !number[end];
}

int ms_embed_absorb_left(ms_embed_run *r, msim_error *err) {
    char folder[4352];
    const char *output = r->s->output, *slash = strrchr(output, '/'),
               *base = slash ? slash + 1 : output;
    const struct dirent *found;
    long long *ranks = NULL;
    size_t n = 0, cap = 0;
    int rc = 0;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - output) + (slash == output) : 1,
             slash ? output : ".");
    DIR *dir = opendir(folder);
    while (dir && (found = readdir(dir))) {
        ranks = ms_cli_grow(ranks, &cap, n + 1, sizeof *ranks);
        n += is_rank_journal(found->d_name, base, ranks + n);
    }
    if (dir) closedir(dir);
    for (size_t i = 0; i < n && rc >= 0; i++) {
        char *corpus = rank_corpus(output, ranks[i]);
        rc = ms_embed_absorb(r, corpus, false, err);
        free(corpus);
    }
    free(ranks);
    return rc;
}
