/* A record of the journal as bytes, and back. docs/FORMATS.md, Journals, has every byte:
 *
 *   head [64] | spans [24 each] | vectors [dim f32 each] | bars [12 each] | path | detail | zeros
 *
 * Its length is a multiple of 8. A content has spans, vectors and bars, a file has a path; notes
 * stand in the place of a path. Part of
 * pipeline/disk/journal.h, where the fields are described. */
#ifndef MS_PIPELINE_DISK_RECORD_H
#define MS_PIPELINE_DISK_RECORD_H
#include "pipeline/disk/journal.h"

enum { MS_RECORD_HEAD = 64 };

/* What the settings of a journal say about its records. */
typedef struct {
    size_t dim;
    bool has_windows; /* a content's rows are windows; else it has one row, the whole piece */
} ms_record_shape;

/* Bytes that a record takes; 0 when it cannot be one. */
size_t ms_record_bytes(ms_record_shape shape, const ms_journal_record *record);
/* Write the record to `to` [ms_record_bytes], which is aligned as records are. */
void ms_record_write(ms_record_shape shape, const ms_journal_record *record, unsigned char *to);
/* Read the record that begins at from [n]; its pointers point into `from`. Returns its bytes, or 0
 * when no record begins there. */
size_t ms_record_read(ms_record_shape shape, const unsigned char *from, size_t n,
                      ms_journal_record *out);

/* Offsets in a record: of a row's span, of a row's vector (with n_windows windows), and, as the
 * head says, of a row's bars (0: they are not known) and of the detail. */
size_t ms_record_span_at(uint32_t row);
size_t ms_record_vector_at(ms_record_shape shape, uint32_t n_windows, uint32_t row);
size_t ms_record_bars_at(ms_record_shape shape, const unsigned char head[MS_RECORD_HEAD],
                         uint32_t row);
size_t ms_record_detail_at(ms_record_shape shape, const unsigned char head[MS_RECORD_HEAD],
                           size_t *n_detail);
/* How many bytes of notes follow the head of a record of notes; 0 for another record. */
size_t ms_record_notes_bytes(const unsigned char head[MS_RECORD_HEAD]);

#endif
