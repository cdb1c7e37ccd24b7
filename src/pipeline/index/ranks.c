/* A note index on several ranks (pipeline/index/build.h; docs/SCALE.md). Rank 0 lists the inputs
 * and sends the list; every rank reads its files. What a rank has read goes into parts,
 * OUTPUT.kept-N, numbered by a counter in rank 0's memory, as a single process keeps it when it is
 * stopped. So rank 0 merges at last what a later run of any number of ranks would go on with. */
#define _GNU_SOURCE
#include "base/mem.h"
#include "pipeline/index/build.h"
#include "pipeline/walk.h"
#include <stdio.h>
#include <string.h>

#define NO_MORE ((int64_t)1 << 40)
#define CHUNK ((size_t)256 << 10) /* bytes to rank 0 at a time */
#define LOOK_EVERY 64             /* files between two looks at the others */

int ms_notesjob_open_builder(ms_notesjob *j, msim_error *err) {
    const msim_ranks *ranks = j->o.ranks;
    const size_t cap = strlen(j->o.output) + 40;
    char *path = ms_alloc(cap, 1, "path", err);
    if (!path) return -MSIM_E_MEMORY;
    /* What does not fit in memory goes beside this: ranks of several machines may have one process
     * number. */
    if (ranks && ranks->index > 0)
        snprintf(path, cap, "%s.rank-%d", j->o.output, ranks->index);
    else
        snprintf(path, cap, "%s", j->o.output);
    int rc = msim_notes_builder_open(path, &j->o.notes, &j->builder, err);
    ms_free(path);
    return rc;
}

/* ---- Before the work ---- */

/* All ranks see the same index and the same parts. */
static int check_same(const ms_notesjob *j, msim_error *err) {
    int64_t here[2] = {(int64_t)j->n_old, j->n_parts}, first[2] = {here[0], here[1]};
    j->o.ranks->broadcast(j->o.ranks->user, 0, first, sizeof first);
    if (first[0] == here[0] && first[1] == here[1]) return MSIM_OK;
    return ms_fail(err, MSIM_E_IO,
                   "ranks differ: expected %lld indexes of earlier runs beside %.200s, got %lld: "
                   "all ranks must see the same files",
                   (long long)first[0], j->o.output, (long long)here[0]);
}

int ms_notesjob_share(ms_notesjob *j, int rc, msim_error *err) {
    const msim_ranks *ranks = j->o.ranks;
    if (!ranks) return rc;
    if (rc >= 0) j->chunk = ms_alloc(CHUNK, 1, "what ranks have found", err);
    if (rc >= 0 && !j->chunk) rc = -MSIM_E_MEMORY;
    rc = ranks->agree(ranks->user, rc, err);
    if (rc >= 0) rc = ranks->agree(ranks->user, check_same(j, err), err);
    if (rc >= 0) rc = ms_walk_share(j->walk, ranks, err);
    if (rc < 0) return rc;
    ranks->counter_open(ranks->user);
    return MSIM_OK;
}

/* ---- During the work ---- */

int64_t ms_notesjob_take_part(ms_notesjob *j) {
    if (!j->o.ranks) return j->n_parts++;
    return j->n_parts + j->o.ranks->counter_add(j->o.ranks->user, 1) % NO_MORE;
}

bool ms_notesjob_is_over(const ms_notesjob *j) {
    if (!j->o.ranks || j->stats.files % LOOK_EVERY != 0) return false;
    return j->o.ranks->counter_add(j->o.ranks->user, 0) >= NO_MORE;
}

/* An input on its way to rank 0; path and detail follow, each with a final NUL. */
typedef struct {
    int32_t reason;
    uint32_t path_bytes, detail_bytes;
    uint8_t is_named, is_failure;
} packed_skip;

static void append(ms_notesjob *j, const void *bytes, size_t n) {
    memcpy(j->skips + j->n_skips, bytes, n);
    j->n_skips += n;
}

int ms_notesjob_note_skip(ms_notesjob *j, const msim_walk_item *item) {
    const packed_skip packed = {.reason = item->reason,
                                .path_bytes = (uint32_t)strlen(item->path) + 1,
                                .detail_bytes = (uint32_t)strlen(item->detail) + 1,
                                .is_named = item->is_named != 0,
                                .is_failure = item->is_failure != 0};
    const size_t n = sizeof packed + packed.path_bytes + packed.detail_bytes;
    int rc = ms_grow((void **)&j->skips, &j->skips_cap, j->n_skips + n, 1, "skipped files", NULL);
    if (rc < 0) return rc;
    append(j, &packed, sizeof packed);
    append(j, item->path, packed.path_bytes);
    append(j, item->detail, packed.detail_bytes);
    return MSIM_OK;
}

/* ---- After the work ---- */

static void give_skips(const ms_notesjob *j, const unsigned char *bytes, size_t n) {
    packed_skip packed;
    for (size_t at = 0; at < n; at += sizeof packed + packed.path_bytes + packed.detail_bytes) {
        memcpy(&packed, bytes + at, sizeof packed);
        const char *path = (const char *)bytes + at + sizeof packed;
        const msim_walk_item item = {.size = sizeof item,
                                     .path = path,
                                     .detail = path + packed.path_bytes,
                                     .reason = packed.reason,
                                     .is_named = packed.is_named,
                                     .is_failure = packed.is_failure};
        if (j->o.skip) (void)j->o.skip(j->o.skip_user, &item);
    }
}

/* Bytes [n] to rank 0, some at a time, and the mark of the end. */
static void send_bytes(const ms_notesjob *j, const unsigned char *bytes, size_t n) {
    const msim_ranks *ranks = j->o.ranks;
    for (size_t at = 0; at < n; at += CHUNK)
        ranks->send(ranks->user, 0, bytes + at, n - at < CHUNK ? n - at : CHUNK);
    ranks->send(ranks->user, 0, bytes, 0);
}

/* The next of them, into j->chunk; 0 at their end. */
static size_t receive_bytes(const ms_notesjob *j, int from) {
    const msim_ranks *ranks = j->o.ranks;
    const size_t n = ranks->expect(ranks->user, from);
    ranks->receive(ranks->user, from, j->chunk, n);
    return n;
}

static size_t skip_bytes(const unsigned char *at) {
    packed_skip packed;
    memcpy(&packed, at, sizeof packed);
    return sizeof packed + packed.path_bytes + packed.detail_bytes;
}

/* As many whole ones at a time as fit. */
static void send_skips(const ms_notesjob *j) {
    const msim_ranks *ranks = j->o.ranks;
    for (size_t at = 0, end; at < j->n_skips; at = end) {
        for (end = at; end < j->n_skips && end + skip_bytes(j->skips + end) - at <= CHUNK;)
            end += skip_bytes(j->skips + end);
        if (end == at) break; /* a path of 256 KiB is none that a system opens */
        ranks->send(ranks->user, 0, j->skips + at, end - at);
    }
    ranks->send(ranks->user, 0, j->skips, 0);
}

static void send_all(const ms_notesjob *j) {
    send_skips(j);
    for (size_t i = 0; i < j->n_old; i++)
        if (j->old[i].part < j->n_parts)
            send_bytes(j, j->old[i].is_kept, (size_t)j->old[i].n_pieces);
}

/* Pieces of earlier runs that a rank has found unchanged. */
static void merge_kept(ms_notesjob *j, int from, ms_notesjob_old *old) {
    size_t at = 0, n;
    while ((n = receive_bytes(j, from)) > 0) {
        for (size_t p = 0; p < n && at < (size_t)old->n_pieces; p++, at++) {
            if (j->chunk[p] && old->is_kept[at]) j->stats.kept--; /* two files of one name */
            old->is_kept[at] |= j->chunk[p];
        }
    }
}

static void merge_rank(ms_notesjob *j, int from) {
    size_t n;
    while ((n = receive_bytes(j, from)) > 0) give_skips(j, j->chunk, n);
    for (size_t i = 0; i < j->n_old; i++)
        if (j->old[i].part < j->n_parts) merge_kept(j, from, &j->old[i]);
}

static bool has_part(const ms_notesjob *j, int64_t part) {
    for (size_t i = 0; i < j->n_old; i++)
        if (j->old[i].part == part) return true;
    return false;
}

/* Rank 0: the parts that others have written. */
static int open_new_parts(ms_notesjob *j, int64_t end, msim_error *err) {
    for (int64_t part = j->n_parts; part < end; part++) {
        msim_notes *notes;
        if (has_part(j, part)) continue;
        int rc = msim_notes_open(ms_notesjob_part_path(j, part), &notes, err);
        if (rc >= 0) rc = ms_notesjob_add_old(j, notes, part, true, err);
        if (rc < 0) return rc;
    }
    return MSIM_OK;
}

static void sum_stats(ms_notesjob *j) {
    int64_t sums[] = {j->stats.files, j->stats.skipped, j->stats.added, j->stats.kept,
                      j->stats.notes};
    j->o.ranks->sum(j->o.ranks->user, sums, 5);
    j->stats.files = sums[0];
    j->stats.skipped = sums[1];
    j->stats.added = sums[2];
    j->stats.kept = sums[3];
    j->stats.notes = sums[4];
}

int ms_notesjob_gather(ms_notesjob *j, int rc, msim_error *err) {
    const msim_ranks *ranks = j->o.ranks;
    msim_error late;
    if (!ranks) return rc;
    if (rc >= 0 && ms_watch_is_stopped(&j->watch)) rc = ms_watch_stop(err, "while reading");
    if (rc >= 0 && ranks->index > 0) rc = ms_notesjob_write_part(j, err);
    if (rc < 0) ranks->counter_add(ranks->user, NO_MORE); /* the others need not go on either */
    rc = ranks->agree(ranks->user, rc, err);
    if (rc < 0) (void)ms_notesjob_write_part(j, &late);
    const int64_t end = j->n_parts + ranks->counter_add(ranks->user, 0) % NO_MORE;
    ranks->counter_close(ranks->user);
    if (rc < 0) return rc;
    sum_stats(j);
    if (ranks->index > 0) {
        send_all(j);
        return MSIM_OK;
    }
    for (int from = 1; from < ranks->count; from++) merge_rank(j, from);
    rc = open_new_parts(j, end, err);
    j->n_parts = end;
    return rc;
}
