/* Windows of pieces in the work. See pipeline/pieces.h. */
#define _GNU_SOURCE
#include "pipeline/pieces.h"
#include "base/mem.h"
#include <string.h>

static void free_piece(ms_piece *p) {
    if (!p) return;
    ms_free(p->spans);
    ms_free(p->bars);
    ms_free(p->vectors);
    ms_free(p);
}

void ms_pieces_close(ms_pieces *w) {
    for (ms_piece *p = w->pieces, *next; p; p = next) {
        next = p->next;
        free_piece(p);
    }
    ms_reader_item_free(&w->item);
    *w = (ms_pieces){0};
}

static ms_piece *open_piece(const ms_pieces *w, const ms_reader_item *item, msim_error *err) {
    size_t n = (size_t)item->n_spans;
    ms_piece *p = ms_alloc(1, sizeof *p, "piece", err);
    if (!p) return NULL;
    p->spans = ms_alloc(n, sizeof *p->spans, "windows of a piece", err);
    if (p->spans) p->vectors = ms_alloc(n, w->dim * sizeof *p->vectors, "vectors of a piece", err);
    if (p->vectors && item->bars) p->bars = ms_alloc(n, sizeof *p->bars, "bars of a piece", err);
    if (!p->vectors || (item->bars && !p->bars)) {
        free_piece(p);
        return NULL;
    }
    p->content = item->content;
    p->n_windows = p->n_left = (uint32_t)n;
    p->n_ids = item->starts[1];
    p->full_length = item->full_length;
    memcpy(p->sha256, item->sha256, sizeof p->sha256);
    for (size_t i = 0; i < n; i++) p->spans[i] = ms_span_pack(item->spans + i, (uint32_t)i);
    for (size_t i = 0; i < n && p->bars; i++) p->bars[i] = ms_bars_pack(item->bars + i);
    return p;
}

int ms_pieces_begin(ms_pieces *w, ms_reader_item *item, msim_error *err) {
    ms_piece *p = open_piece(w, item, err);
    if (!p) return -MSIM_E_MEMORY;
    p->next = w->pieces;
    w->pieces = w->handed = p;
    w->n_pieces++;
    w->at = 0;
    w->item = *item;
    *item = (ms_reader_item){0};
    return 0;
}

int ms_pieces_next(ms_pieces *w, ms_sequence *out, msim_error *err) {
    const ms_reader_item *item = &w->item;
    if (!w->handed) return 0;
    const msim_span *span = item->spans + w->at;
    size_t n = ms_span_n_ids(span);
    int32_t *ids = ms_alloc(n, sizeof *ids, "token ids", err);
    if (!ids) return -MSIM_E_MEMORY;
    ms_span_copy_ids(span, item->ids, ids);
    *out = (ms_sequence){.name = item->entry->path + item->entry->name_at,
                         .name_len = item->entry->name_len,
                         .content = item->content,
                         .ids = ids,
                         .n_ids = (int64_t)n,
                         .full_length = item->full_length,
                         .piece = w->handed,
                         .window = w->at++};
    memcpy(out->sha256, item->sha256, sizeof out->sha256);
    if (w->at == item->n_spans) { /* the piece may be gone before the next call */
        ms_reader_item_free(&w->item);
        w->handed = NULL;
    }
    return 1;
}

ms_piece *ms_pieces_keep(ms_pieces *w, const ms_sequence *sequence, const float *vector) {
    ms_piece *p = sequence->piece;
    memcpy(p->vectors + sequence->window * w->dim, vector, w->dim * sizeof *vector);
    return --p->n_left ? NULL : p;
}

void ms_pieces_release(ms_pieces *w, ms_piece *piece) {
    ms_piece **at = &w->pieces;
    while (*at != piece) at = &(*at)->next;
    *at = piece->next;
    w->n_pieces--;
    free_piece(piece);
}
