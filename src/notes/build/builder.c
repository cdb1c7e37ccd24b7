/* Builds an index in bounded memory: pieces are gathered in a run; a run that is full is written as
 * an index of its own beside the output, and all of them are merged at the end. */
#include "base/sized.h"
#include "notes/build/kept.h"
#include "notes/build/write.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define KEEP_BYTES ((size_t)8 << 20)

typedef struct {
    ms_feed source;
    msim_notes *spilled; /* owned: an index that this builder wrote and removes */
} builder_part;

struct msim_notes_builder {
    char *path; /* owned */
    msim_notes_options options;
    ms_run run;
    builder_part *parts; /* owned: indexes that were added, and runs that were written */
    size_t n_parts, parts_cap;
    ms_arena arena; /* of the piece that was packed */
};

void msim_notes_options_init(msim_notes_options *options) {
    const msim_notes_options defaults = {
        .size = sizeof defaults, .density = 1, .memory_bytes = (int64_t)1 << 30};
    (void)ms_sized_out(options, &defaults, sizeof defaults);
}

static int check_options(const msim_notes_options *o, msim_error *err) {
    if (o->density < 1 || o->density > 16)
        return ms_fail(err, MSIM_E_ARG, "density of words: expected 1..16, got %d", o->density);
    if (o->memory_bytes < 1)
        return ms_fail(err, MSIM_E_ARG, "memory of the builder: expected at least 1 byte, got %lld",
                       (long long)o->memory_bytes);
    return MSIM_OK;
}

int msim_notes_builder_open(const char *path, const msim_notes_options *options,
                            msim_notes_builder **out, msim_error *err) {
    msim_notes_options o = msim_notes_options_default();
    *out = NULL;
    int rc = options ? ms_sized_in(&o, sizeof o, options, "msim_notes_options", err) : MSIM_OK;
    if (rc >= 0) rc = check_options(&o, err);
    if (rc < 0) return rc;
    msim_notes_builder *b = ms_alloc(1, sizeof *b, "builder of a note index", err);
    if (!b) return -MSIM_E_MEMORY;
    b->options = o;
    ms_run_init(&b->run);
    ms_arena_init(&b->arena, KEEP_BYTES);
    b->path = ms_mem_copy_text(path, "path", err);
    if (!b->path) {
        msim_notes_builder_close(b);
        return -MSIM_E_MEMORY;
    }
    *out = b;
    return MSIM_OK;
}

static void close_parts(msim_notes_builder *b) {
    for (size_t i = 0; i < b->n_parts; i++) {
        ms_feed_close(&b->parts[i].source);
        msim_notes_close(b->parts[i].spilled);
    }
    b->n_parts = 0;
}

void msim_notes_builder_close(msim_notes_builder *b) {
    if (!b) return;
    close_parts(b);
    ms_free(b->parts);
    ms_run_free(&b->run);
    ms_arena_free(&b->arena);
    ms_free(b->path);
    ms_free(b);
}

static builder_part *new_part(msim_notes_builder *b, msim_error *err) {
    int rc = ms_grow((void **)&b->parts, &b->parts_cap, b->n_parts + 1, sizeof *b->parts,
                     "parts of a note index", err);
    if (rc < 0) return NULL;
    b->parts[b->n_parts] = (builder_part){0};
    return &b->parts[b->n_parts];
}

/* Write the run as an index of its own and forget it. The file is removed as soon as it is open:
 * its mapping keeps the bytes, and no way of ending leaves it behind. */
static int spill(msim_notes_builder *b, msim_error *err) {
    ms_feed source;
    builder_part *p = new_part(b, err);
    const size_t cap = strlen(b->path) + 48;
    char *path = p ? ms_alloc(cap, 1, "path", err) : NULL;
    if (!path) return -MSIM_E_MEMORY;
    snprintf(path, cap, "%s.run-%ld-%zu", b->path, (long)getpid(), b->n_parts);
    int rc = ms_run_sort(&b->run, err);
    if (rc >= 0) rc = ms_feed_open(&source, &b->run, NULL, NULL, NULL, err);
    if (rc >= 0) {
        rc = ms_notes_write(path, &source, 1, b->options.density, !b->options.leaves_out_bottom,
                            err);
        ms_feed_close(&source);
    }
    if (rc >= 0) rc = msim_notes_open(path, &p->spilled, err);
    (void)unlink(path);
    ms_free(path);
    if (rc >= 0) rc = ms_feed_open(&p->source, NULL, p->spilled, NULL, NULL, err);
    if (rc < 0) {
        msim_notes_close(p->spilled);
        return rc;
    }
    b->n_parts++;
    ms_run_clear(&b->run);
    return MSIM_OK;
}

int msim_notes_builder_add(msim_notes_builder *b, const char *name, size_t name_bytes,
                           const unsigned char *content, const msim_piece_notes *piece,
                           msim_error *err) {
    msim_piece_notes p = {.size = sizeof p};
    int rc = ms_sized_in(&p, sizeof p, piece, "msim_piece_notes", err);
    if (rc < 0) return rc;
    if (b->run.n_pieces > 0 && ms_run_bytes(&b->run) > (size_t)b->options.memory_bytes) {
        rc = spill(b, err);
        if (rc < 0) return rc;
    }
    return ms_run_add(&b->run, name, name_bytes, content, &p, b->options.density,
                      !b->options.leaves_out_bottom, err);
}

/* ---- Notes for later ---- */

/* A piece of the caller's struct, which may be an older one. */
static msim_piece_notes piece_of(const msim_piece_notes *piece) {
    msim_piece_notes p = {.size = sizeof p};
    (void)ms_sized_in(&p, sizeof p, piece, "msim_piece_notes", NULL);
    return p;
}

size_t msim_notes_pack_bound(const msim_piece_notes *piece) {
    const msim_piece_notes p = piece_of(piece);
    return ms_kept_bound(&p);
}

size_t msim_notes_pack(const msim_piece_notes *piece, unsigned char *out) {
    const msim_piece_notes p = piece_of(piece);
    return ms_kept_put(&p, out);
}

int msim_notes_builder_add_packed(msim_notes_builder *b, const char *name, size_t name_bytes,
                                  const unsigned char *content, const unsigned char *bytes,
                                  size_t n_bytes, msim_error *err) {
    msim_piece_notes p;
    ms_arena_reset(&b->arena);
    int rc = ms_kept_get(bytes, n_bytes, &b->arena, &p, err);
    return rc < 0 ? rc : msim_notes_builder_add(b, name, name_bytes, content, &p, err);
}

/* ---- Indexes ---- */

int msim_notes_builder_add_index(msim_notes_builder *b, const msim_notes *notes,
                                 int (*keep)(void *user, int64_t piece), void *user,
                                 msim_error *err) {
    if (notes->tail.density != b->options.density ||
        notes->tail.has_bottom == b->options.leaves_out_bottom)
        return ms_fail(
            err, MSIM_E_ARG, "note index %s: expected density %d %s bottom lines, got %d %s",
            notes->map.path, b->options.density, b->options.leaves_out_bottom ? "without" : "with",
            notes->tail.density, notes->tail.has_bottom ? "with" : "without");
    builder_part *p = new_part(b, err);
    if (!p) return -MSIM_E_MEMORY;
    int rc = ms_feed_open(&p->source, NULL, notes, keep, user, err);
    if (rc >= 0) b->n_parts++;
    return rc;
}

/* Write the run and all parts to a path. */
static int write_all(msim_notes_builder *b, const char *path, msim_error *err) {
    int rc = ms_run_sort(&b->run, err);
    ms_feed *feeds = ms_alloc(b->n_parts + 1, sizeof *feeds, "sources", err);
    if (!feeds) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < b->n_parts; i++) feeds[i + 1] = b->parts[i].source;
    if (rc >= 0) rc = ms_feed_open(&feeds[0], &b->run, NULL, NULL, NULL, err);
    if (rc >= 0) {
        rc = ms_notes_write(path, feeds, b->n_parts + 1, b->options.density,
                            !b->options.leaves_out_bottom, err);
        ms_feed_close(&feeds[0]);
    }
    ms_free(feeds);
    return rc;
}

int msim_notes_builder_save(msim_notes_builder *b, const char *path, msim_error *err) {
    int rc = write_all(b, path, err);
    close_parts(b);
    ms_run_clear(&b->run);
    return rc;
}

int msim_notes_builder_finish(msim_notes_builder *b, msim_error *err) {
    return write_all(b, b->path, err);
}
