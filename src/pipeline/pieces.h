/* Pieces that give several rows. Each window of a piece is embedded as a sequence of its own, in
 * any order and among the windows of other pieces. A piece is finished when its last window has a
 * vector. Only finished pieces go into the journal. One thread. */
#ifndef MS_PIPELINE_PIECES_H
#define MS_PIPELINE_PIECES_H
#include "pipeline/batcher.h"
#include "pipeline/disk/journal.h"
#include "pipeline/input/reader.h"

/* A piece some of whose windows have no vector yet. */
typedef struct ms_piece {
    struct ms_piece *next;
    uint32_t content, n_windows, n_left; /* windows without a vector */
    unsigned char sha256[MS_JOURNAL_HASH];
    int64_t n_ids, full_length;
    ms_stored_span *spans; /* owned: [n_windows] */
    ms_stored_bars *bars;  /* owned: [n_windows]; NULL: not wanted */
    float *vectors;        /* owned: [n_windows, dim] */
} ms_piece;

typedef struct {
    size_t dim;
    ms_reader_item item; /* owned: the file whose windows are being handed out */
    ms_piece *handed;    /* borrowed: its piece; NULL: there is none */
    uint32_t at;         /* its next window */
    ms_piece *pieces;    /* owned: a list, newest first */
    int64_t n_pieces;
} ms_pieces;

void ms_pieces_close(ms_pieces *w);
/* Begin to hand out the windows of a file, which is taken over. The windows of the file before must
 * all be handed out. */
int ms_pieces_begin(ms_pieces *w, ms_reader_item *item, msim_error *err);
/* The next window as a sequence. Returns 1, or 0 when there is none. */
int ms_pieces_next(ms_pieces *w, ms_sequence *out, msim_error *err);
/* Keep a window's vector. Returns the piece when this was its last window: the caller uses it and
 * then releases it. Returns NULL otherwise. */
ms_piece *ms_pieces_keep(ms_pieces *w, const ms_sequence *sequence, const float *vector);
void ms_pieces_release(ms_pieces *w, ms_piece *piece);

#endif
