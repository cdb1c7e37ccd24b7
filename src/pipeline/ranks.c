/* A job on several ranks (pipeline/job.h; docs/SCALE.md).
 *
 * Rank 0 prepares the run as a single process does. Rank 0 alone walks the folders: the file
 * servers are asked once, and all ranks have the same list. It sends the others what is left to be
 * done: entries, and the contents that are known. Then all ranks work alike, each with a journal
 * of its own, CORPUS.npy.rank-N.journal.
 *
 * What comes next is a number in rank 0's memory, which each rank raises by itself. A number
 * stands for a block of entries. All ranks compute the sizes of the blocks alike; towards the end
 * blocks get smaller, so that all ranks end together. At last rank 0 takes the journals over into
 * its own, as a later run of any number of processes would, and writes the corpus as a single
 * process does. */
#define _GNU_SOURCE
#include "pipeline/input/sent.h"
#include "pipeline/job.h"
#include "base/file.h"
#include "base/mem.h"
#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_MOST 64 /* entries */
#define BLOCKS_LEFT 4 /* a block is at most this part of what is left for each rank */
#define AHEAD 64      /* files that a rank reads ahead */
#define NO_MORE ((int64_t)1 << 40)
#define RANK_MARK ".rank-"

struct ms_job_part {
    const msim_ranks *ranks;  /* borrowed */
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
    bool is_complete; /* there is nothing to do */
    ms_description description;
    int64_t n_todo;
} plan;

void ms_job_part_free(ms_job_part *p) {
    if (!p) return;
    ms_free(p->corpus);
    ms_free(p->todo);
    ms_free(p);
}

/* ---- The caller's functions ---- */

int ms_job_rank(const msim_job *r) { return r->o.ranks ? r->o.ranks->index : 0; }
int ms_job_ranks(const msim_job *r) { return r->o.ranks ? r->o.ranks->count : 1; }

static int agree(const msim_job *r, int rc, msim_error *err) {
    return r->o.ranks->agree(r->o.ranks->user, rc, err);
}

static void broadcast(const msim_job *r, void *bytes, size_t n) {
    r->o.ranks->broadcast(r->o.ranks->user, 0, bytes, n);
}

static int64_t counter_add(const msim_ranks *ranks, int64_t n) {
    return ranks->counter_add(ranks->user, n);
}

/* CORPUS.npy.rank-N, to be freed with ms_free; NULL when out of memory. */
static char *rank_corpus(const char *output, int64_t rank, msim_error *err) {
    size_t cap = strlen(output) + 40;
    char *path = ms_alloc(cap, 1, "name of a journal", err);
    if (path) snprintf(path, cap, "%s" RANK_MARK "%lld", output, (long long)rank);
    return path;
}

int ms_job_check_journals(const msim_job *r, msim_error *err) {
    char ending[64];
    if (!r->o.ranks || r->o.ranks->count < 2) return 0;
    snprintf(ending, sizeof ending, RANK_MARK "%lld.journal", (long long)r->o.ranks->count - 1);
    return ms_file_check_name(r->o.output, ending, err);
}

/* Take over the journal of a rank. */
static int absorb_rank(msim_job *r, int64_t rank, bool is_now, msim_error *err) {
    char *corpus = rank_corpus(r->o.output, rank, err);
    int rc = corpus ? ms_job_absorb(r, corpus, is_now, err) : -MSIM_E_MEMORY;
    ms_free(corpus);
    return rc;
}

/* ---- Handing out ---- */

static int64_t block_size(const ms_job_part *p) {
    int64_t n = (p->n - p->start) / (BLOCKS_LEFT * p->ranks->count);
    return n < 1 ? 1 : n > BLOCK_MOST ? BLOCK_MOST : n;
}

static bool take_block(ms_job_part *p) {
    int64_t wanted = counter_add(p->ranks, 1);
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
    ms_job_part *p = user;
    if (p->at == p->end && !take_block(p)) return false;
    *index = p->todo ? p->todo[p->at] : (size_t)p->at;
    p->at++;
    return true;
}

int64_t ms_job_taken_elsewhere(const msim_job *r) {
    return r->part ? atomic_load(&r->part->n_others) : 0;
}

/* ---- The list ---- */

/* A content on its way. */
typedef struct {
    unsigned char key[MS_DEDUP_KEY];
    bool has_vectors, has_notes;
} packed_content;

static void send_entries(const msim_job *r, ms_sent *sent) {
    for (int64_t i = 0; i < r->part->n; i++) {
        ms_sent_put_entry(sent, r->manifest.files.entries + r->part->todo[i]);
        if (!ms_sent_step(sent)) return;
    }
    ms_sent_end(sent);
}

static void send_contents(const msim_job *r, ms_sent *sent) {
    for (size_t i = 0; i < ms_dedup_count(r->manifest.dedup); i++) {
        ms_dedup_entry content = ms_dedup_get(r->manifest.dedup, (uint32_t)i);
        packed_content packed = {
            .has_vectors = content.state == MS_DEDUP_JOURNAL || content.state == MS_DEDUP_PREVIOUS,
            .has_notes = ms_dedup_get_notes(r->manifest.dedup, (uint32_t)i) != MS_NOTES_UNKNOWN};
        if (!packed.has_vectors && (!packed.has_notes || !r->o.notes)) continue;
        memcpy(packed.key, content.key, sizeof packed.key);
        ms_sent_put(sent, &packed, sizeof packed);
        if (!ms_sent_step(sent)) return;
    }
    ms_sent_end(sent);
}

static int send_list(const msim_job *r, msim_error *err) {
    ms_sent sent = {.ranks = r->o.ranks};
    send_entries(r, &sent);
    if (!sent.failed.code) send_contents(r, &sent);
    return ms_sent_close(&sent, err);
}

/* Where rank 0 keeps the results of these contents does not matter here. */
static void add_contents(msim_job *r, ms_sent *sent) {
    packed_content packed;
    uint32_t content;
    for (size_t at = 0; at + sizeof packed <= sent->n && !sent->failed.code; at += sizeof packed) {
        memcpy(&packed, sent->bytes + at, sizeof packed);
        if (ms_dedup_find(r->manifest.dedup, packed.key, &content, &sent->failed) < 0) return;
        if (packed.has_vectors)
            ms_dedup_settle(r->manifest.dedup, content,
                            (ms_dedup_entry){.state = MS_DEDUP_PREVIOUS});
        if (packed.has_notes) ms_dedup_settle_notes(r->manifest.dedup, content, MS_NOTES_NONE);
    }
}

static int receive_list(msim_job *r, msim_error *err) {
    ms_sent sent = {.ranks = r->o.ranks};
    while (ms_sent_next(&sent)) ms_sent_get_entries(&sent, &r->manifest.files);
    bool is_over = sent.failed.code != 0; /* as all ranks know */
    if (!is_over) (void)ms_manifest_open(&r->manifest, &r->watch, &sent.failed);
    while (!is_over && ms_sent_next(&sent)) add_contents(r, &sent);
    return ms_sent_close(&sent, err);
}

/* ---- Before the work ---- */

static int find_todo(msim_job *r, msim_error *err) {
    const ms_manifest *in = &r->manifest;
    r->part->todo = ms_alloc(in->files.n, sizeof *r->part->todo, "files to be done", err);
    if (!r->part->todo) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < in->files.n; i++)
        if (in->content[i] == MS_DEDUP_NONE && in->files.entries[i].reason == MSIM_SKIP_NONE)
            r->part->todo[r->part->n++] = (uint32_t)i;
    return 0;
}

/* Open a rank's own journal. If there is one already, rank 0 has taken it over. */
static int begin_journal(msim_job *r, msim_error *err) {
    r->part->corpus = rank_corpus(r->o.output, ms_job_rank(r), err);
    if (!r->part->corpus) return -MSIM_E_MEMORY;
    int rc = ms_journal_open(r->part->corpus, &r->watch, &r->journal, err);
    return rc < 0 ? rc : ms_journal_begin(r->journal, &r->description, err);
}

static int open_part(msim_job *r, int rc, msim_error *err) {
    if (rc < 0) return rc;
    r->part = ms_alloc(1, sizeof *r->part, "share of a rank", err);
    if (!r->part) return -MSIM_E_MEMORY;
    r->part->ranks = r->o.ranks;
    return ms_job_rank(r) == 0 && !r->is_complete ? find_todo(r, err) : 0;
}

/* Everybody gets the list of what is to be done. */
static int share_list(msim_job *r, msim_error *err) {
    if (ms_job_rank(r) == 0) return send_list(r, err);
    int rc = receive_list(r, err);
    return rc < 0 ? rc : begin_journal(r, err);
}

int ms_job_share(msim_job *r, int rc, msim_error *err) {
    bool is_first = ms_job_rank(r) == 0;
    plan p = {.is_complete = r->is_complete};
    if (ms_job_ranks(r) == 1) return rc;
    rc = agree(r, open_part(r, rc, err), err);
    if (rc < 0) return rc;
    if (is_first && !r->is_complete) {
        p.description = r->description;
        p.n_todo = r->part->n;
    }
    broadcast(r, &p, sizeof p);
    r->is_complete = p.is_complete;
    if (r->is_complete) return 0;
    r->part->n = p.n_todo;
    rc = agree(r, is_first ? 0 : ms_job_join(r, &p.description, err), err);
    if (rc >= 0) rc = agree(r, share_list(r, err), err);
    if (rc < 0) return rc;
    r->o.ranks->counter_open(r->o.ranks->user);
    atomic_store(&r->part->n_others, 0);
    r->take = take;
    r->take_user = r->part;
    r->ahead = AHEAD;
    return 0;
}

/* ---- After the work ---- */

static int absorb_ranks(msim_job *r, msim_error *err) {
    int rc = 0;
    for (int rank = 1; rank < ms_job_ranks(r) && rc >= 0; rank++)
        rc = absorb_rank(r, rank, true, err);
    return rc < 0 ? rc : ms_manifest_complete(&r->manifest, err);
}

int ms_job_gather(msim_job *r, int rc, msim_error *err) {
    if (!r->part) return rc;
    const msim_ranks *ranks = r->o.ranks;
    if (rc >= 0 && ms_watch_is_stopped(&r->watch)) rc = ms_watch_stop(err, "while embedding");
    if (rc < 0) counter_add(ranks, NO_MORE); /* the others need not go on either */
    rc = agree(r, rc, err);
    ranks->counter_close(ranks->user);
    if (rc < 0) return rc;
    int64_t sums[2] = {r->n_read, r->stats.n_tokens};
    ranks->sum(ranks->user, sums, 2);
    r->n_read = sums[0];
    r->stats.n_tokens = sums[1];
    if (ms_job_rank(r) > 0) {
        ms_journal_close(r->journal);
        r->journal = NULL;
    }
    rc = agree(r, rc, err); /* all are closed */
    if (rc >= 0 && ms_job_rank(r) == 0) rc = absorb_ranks(r, err);
    return agree(r, rc, err);
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

int ms_job_absorb_left(msim_job *r, msim_error *err) {
    char folder[4352];
    const char *output = r->o.output, *slash = strrchr(output, '/'),
               *base = slash ? slash + 1 : output;
    const struct dirent *found;
    long long *ranks = NULL;
    size_t n = 0, cap = 0;
    int rc = 0;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - output) + (slash == output) : 1,
             slash ? output : ".");
    DIR *dir = opendir(folder);
    while (dir && rc >= 0 && (found = readdir(dir))) {
        rc = ms_grow((void **)&ranks, &cap, n + 1, sizeof *ranks, "journals of ranks", err);
        if (rc >= 0) n += is_rank_journal(found->d_name, base, ranks + n);
    }
    if (dir) closedir(dir);
    for (size_t i = 0; i < n && rc >= 0; i++) rc = absorb_rank(r, ranks[i], false, err);
    ms_free(ranks);
    return rc;
}
