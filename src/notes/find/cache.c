/* Decoded times: see cache.h. */
#include "notes/find/cache.h"
#include "notes/file/details.h"
#include "notes/seeds/words.h"
#include <string.h>

enum { KEEP_BYTES = 64 << 20, SLOTS = 1 << 16 };

int ms_cache_init(ms_cache *c, const msim_notes *notes, msim_error *err) {
    *c = (ms_cache){.notes = notes, .slots = SLOTS};
    ms_arena_init(&c->arena, KEEP_BYTES);
    c->pieces = ms_alloc(c->slots, sizeof *c->pieces, "times", err);
    return c->pieces ? MSIM_OK : -MSIM_E_MEMORY;
}

void ms_cache_free(ms_cache *c) {
    ms_arena_free(&c->arena);
    ms_free(c->pieces);
    *c = (ms_cache){0};
}

void ms_cache_trim(ms_cache *c) {
    if (c->n_bytes < KEEP_BYTES && c->n_used < c->slots / 2) return;
    memset(c->pieces, 0, c->slots * sizeof *c->pieces);
    ms_arena_reset(&c->arena);
    c->n_bytes = c->n_used = 0;
}

int ms_cache_get(ms_cache *c, uint32_t piece, ms_target *out, msim_error *err) {
    ms_piece_view view;
    if (!ms_index_piece(c->notes, piece, &view)) return ms_index_damaged(c->notes, "a piece", err);
    size_t i = ms_word_hash(piece) & (c->slots - 1);
    while (c->pieces[i].piece && c->pieces[i].piece != (uint64_t)piece + 1)
        i = (i + 1) & (c->slots - 1);
    ms_cached *kept = &c->pieces[i];
    if (!kept->piece) {
        uint32_t *time = ms_arena_get(&c->arena, view.n_notes, sizeof *time, "times", err);
        if (!time) return -MSIM_E_MEMORY;
        const uint8_t *voices;
        if (!ms_details_times(view.details, view.details_bytes, view.n_notes, time, &voices))
            return ms_index_damaged(c->notes, "the times of a piece", err);
        *kept = (ms_cached){.piece = (uint64_t)piece + 1, .time = time, .voices = voices};
        c->n_bytes += view.n_notes * sizeof *time;
        c->n_used++;
    }
    *out = (ms_target){.time = kept->time,
                       .pitch = view.pitches,
                       .n = view.n_notes,
                       .voices = kept->voices,
                       .end = view.details + view.details_bytes};
    return MSIM_OK;
}
