/* The bytes of a note index: docs/FORMATS.md, Note index. All numbers are little endian.
 *
 *   head      64 bytes: magic, version
 *   sections  each 64-byte aligned, in the order of ms_section
 *   tail      MS_TAIL_BYTES: constants, counts, where the sections are, their checksums
 *
 * The tail comes last, so that a file is written in one go. */
#ifndef MS_NOTES_FILE_LAYOUT_H
#define MS_NOTES_FILE_LAYOUT_H
#include <stdint.h>

#define MS_NOTES_MAGIC "MSIMNOTE"
enum { MS_NOTES_VERSION = 1, MS_HEAD_BYTES = 64, MS_TAIL_BYTES = 512, MS_SECTION_ALIGN = 64 };

enum ms_section {
    MS_SECTION_PIECES,   /* ms_piece_record [pieces] */
    MS_SECTION_NAMES,    /* bytes, end to end in the order of the pieces */
    MS_SECTION_DIGESTS,  /* u32 [pieces]: pieces in order of (digest, number) */
    MS_SECTION_RANGES,   /* u32: the piece of note 0, 1024, 2048, ... */
    MS_SECTION_PITCHES,  /* u8 [notes], in canonical order */
    MS_SECTION_DETAILS,  /* times, voices, durations and bars of each piece: details.h */
    MS_SECTION_POSTINGS, /* blocks of MS_BLOCK postings: block.h */
    MS_SECTION_KEYS,     /* u64 [blocks]: the first key of each block */
    MS_SECTION_STARTS,   /* u64 [blocks + 1]: where each block begins in its section */
    MS_SECTIONS
};

enum { MS_RANGE_NOTES = 1024 };

typedef struct {
    uint64_t name_at; /* in the names */
    uint64_t details_at;
    uint64_t first_note;
    uint64_t digest;
    uint8_t content[16];
    uint32_t name_bytes;
    uint32_t n_notes;
    uint32_t details_bytes;
    uint32_t length_ms; /* the last onset */
} ms_piece_record;
_Static_assert(sizeof(ms_piece_record) == 64, "a record has no gaps");

typedef struct {
    uint64_t at, n_bytes;
    uint32_t crc, zero;
} ms_section_record;

typedef struct {
    char magic[8];
    uint32_t version, tail_bytes;
    uint8_t chord_ms, sounding_ms, intervals, interval_bits;
    uint8_t least_intervals, same_intervals, common_intervals, common_max;
    uint8_t span_bits, density, has_bottom, zero;
    uint32_t block;
    uint64_t n_pieces, n_notes, n_postings, n_blocks;
    uint64_t file_bytes;
    ms_section_record sections[MS_SECTIONS];
    uint8_t unused[MS_TAIL_BYTES - 80 - MS_SECTIONS * 24];
    uint32_t unused_crc, crc; /* crc: of all bytes of the tail before it */
} ms_notes_tail;
_Static_assert(sizeof(ms_notes_tail) == MS_TAIL_BYTES, "the tail has no gaps");

#endif
