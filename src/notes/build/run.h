/* A run: pieces with their postings in memory, as many as a builder's memory takes. */
#ifndef MS_NOTES_BUILD_RUN_H
#define MS_NOTES_BUILD_RUN_H
#include "notes/file/index.h"

typedef struct {
    size_t name_at, details_at, first_note, first_posting; /* in the run's arrays */
    uint64_t digest;
    uint8_t content[MSIM_CONTENT_BYTES];
    uint32_t name_bytes, details_bytes, n_notes, n_postings, length_ms;
} ms_run_piece;

/* All arrays are owned. */
typedef struct {
    ms_run_piece *pieces;
    char *names;
    uint8_t *pitches, *details;
    ms_posting *postings; /* in the order of the pieces; a value's note counts in its piece. After
                           * ms_run_sort: by (key, note), notes count in the run */
    size_t n_pieces, n_names, n_notes, n_details, n_postings;
    size_t pieces_cap, names_cap, notes_cap, details_cap, postings_cap;
    ms_arena arena; /* of the piece that is being added */
} ms_run;

void ms_run_init(ms_run *run);
int ms_run_add(ms_run *run, const char *name, size_t name_bytes, const unsigned char *content,
               const msim_piece_notes *piece, int density, bool has_bottom, msim_error *err);
/* Bytes that writing the run will take at its height. */
size_t ms_run_bytes(const ms_run *run);
/* Order pieces by name and content, and sort the postings. */
int ms_run_sort(ms_run *run, msim_error *err);
void ms_run_piece_view(const ms_run *run, size_t piece, ms_piece_view *out);
/* Forget all pieces; the memory stays. */
void ms_run_clear(ms_run *run);
void ms_run_free(ms_run *run);

/* Of two pieces the one that stands first in an index: by name, then by content. */
int ms_run_compare(const ms_piece_view *a, const ms_piece_view *b);
/* Sort by key, stably. spare [n] is as large as postings [n]; *sorted is set to the one of both
 * that has the result. */
void ms_postings_sort(ms_posting *postings, ms_posting *spare, size_t n, ms_posting **sorted);

#endif
