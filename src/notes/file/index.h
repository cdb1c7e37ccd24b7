/* An index from the inside: its file, mapped, with its sections checked against its size. */
#ifndef MS_NOTES_FILE_INDEX_H
#define MS_NOTES_FILE_INDEX_H
#include "base/map.h"
#include "base/mem.h"
#include "notes/file/block.h"
#include "notes/file/layout.h"

struct msim_notes {
    ms_map map;                    /* owned */
    ms_notes_tail tail;            /* of the file */
    const ms_piece_record *pieces; /* mapped: [tail.n_pieces], and so on for each section */
    const char *names;
    const uint32_t *digests, *ranges;
    const uint8_t *pitches, *details, *postings;
    const uint64_t *keys, *starts;
    unsigned width; /* bits of a posting's value */
};

/* A piece whose places in the sections were checked. */
typedef struct {
    const char *name;
    size_t name_bytes;
    const uint8_t *content; /* [MSIM_CONTENT_BYTES] */
    uint64_t digest, first_note;
    size_t n_notes;
    uint32_t length_ms;
    const uint8_t *pitches; /* [n_notes] */
    const uint8_t *details; /* [details_bytes] */
    size_t details_bytes;
} ms_piece_view;

/* False: the index is damaged there. */
bool ms_index_piece(const msim_notes *notes, uint64_t piece, ms_piece_view *out);
/* The piece that a note of the collection belongs to, and its number there. False: damaged. */
bool ms_index_piece_of(const msim_notes *notes, uint64_t note, uint32_t *piece, uint32_t *number);
/* Block b: its bytes, and how many postings it has. False: damaged. */
bool ms_index_block(const msim_notes *notes, uint64_t b, const uint8_t **bytes, size_t *n_bytes,
                    size_t *n_postings);
/* The pieces of a digest: numbers [*n] in ascending order, mapped. NULL when there are none. */
const uint32_t *ms_index_digest(const msim_notes *notes, uint64_t digest, size_t *n);
int ms_index_damaged(const msim_notes *notes, const char *what, msim_error *err);
/* Bits of a posting's value in a collection of n_notes notes. */
unsigned ms_index_width(uint64_t n_notes);
/* Fill in what a tail says about the format: magic, version, constants. */
void ms_index_constants(ms_notes_tail *tail, int density, int has_bottom);

#endif
