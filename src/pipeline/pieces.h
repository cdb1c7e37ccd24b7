/* Pieces that give several rows: the windows of one are embedded as sequences of their own, in any
 * order and among those of other pieces, and when the last has its vector the piece is finished.
 * Only finished pieces go into the journal. One thread. */
#ifndef MS_PIPELINE_PIECES_H
#define MS_PIPELINE_PIECES_H
#include "pipeline/batcher.h"
#include "pipeline/disk/journal.h"
#include "pipeline/input/reader.h"

/* A piece of which not all windows have their vectors. */
typedef struct ms_piece {
    struct ms_piece *next;
    uint32_t content, n_windows, n_left; /* windows without a vector */
    unsigned char sha256[MS_JOURNAL_HASH];
    int64_t n_ids, full_length;
    ms_stored_span *spans; /* owned: [n_windows] */
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
/* Hand out the windows of a file, which is taken over. Only after those of the one before. */
int ms_pieces_begin(ms_pieces *w, ms_reader_item *item, msim_error *err);
/* The next window as a sequence: 1; 0 when there is none. */
int ms_pieces_next(ms_pieces *w, ms_sequence *out, msim_error *err);
/* A window's vector. Returns its piece when that is finished, which is released next; else
 * NULL. */
ms_piece *ms_pieces_keep(ms_pieces *w, const ms_sequence *sequence, const float *vector);
void ms_pieces_release(ms_pieces *w, ms_piece *piece);

#endif
