/* CORPUS.npy.journal: what a job has done so far. With it a run that was ended in any way goes on
 * where it was. docs/FORMATS.md, Journals, has every byte.
 *
 * The header holds the settings of the job. Records follow in blocks. Each block has a checksum and
 * is synced before the next one begins. A record is a content (hash, result, vectors), a file
 * (path, size, time, and the hash of its content), a level (records from here on are made at that
 * level) or the notes of a content, for a note index beside the corpus. Records are gathered in
 * memory, at most 16 MiB and some seconds of them. What a crash left half written is cut off when
 * the journal is next read.
 *
 * The file is locked while the journal is open: a second run on the same output is refused. One
 * thread. */
#ifndef MS_PIPELINE_DISK_JOURNAL_H
#define MS_PIPELINE_DISK_JOURNAL_H
#include "pipeline/input/files.h"
#include "pipeline/disk/description.h"

#define MS_JOURNAL_HASH 32
#define MS_JOURNAL_NOTES_MOST ((size_t)32 << 20) /* bytes of the packed notes of a piece */

typedef struct ms_journal ms_journal;

enum ms_journal_state {
    MS_JOURNAL_NONE,    /* there was no journal, or nothing in it can be used */
    MS_JOURNAL_OPEN,    /* of a run that did not reach its end */
    MS_JOURNAL_FINISHED /* kept by a run that did */
};

/* Create or open the journal of a corpus and lock it. Nothing is read but the header. watch
 * (borrowed) may be NULL. */
int ms_journal_open(const char *corpus, ms_watch *watch, ms_journal **out, msim_error *err);
const char *ms_journal_path(const ms_journal *journal);
/* The state in which the journal was found; *settings (for OPEN and FINISHED) come from its
 * header. */
int ms_journal_state(const ms_journal *journal, ms_description *settings);
/* Empty the journal and write a header. */
int ms_journal_begin(ms_journal *journal, const ms_description *settings, msim_error *err);

/* One record. A content has detail, n_tokens, full_length, its rows, and `at`, by which its
 * vectors, spans and detail are read later. A file has path, bytes and mtime_ns; its reason is OK
 * when the record of its content says the rest. A level has its name as detail. Notes have a hash,
 * and a reason or `path`, which then holds the notes as notes/build/kept.h packs them. */
typedef struct {
    enum {
        MS_JOURNAL_CONTENT = 1,
        MS_JOURNAL_FILE = 2,
        MS_JOURNAL_LEVEL = 3,
        MS_JOURNAL_NOTES = 4
    } kind;
    int reason;                          /* msim_skip_reason */
    unsigned char hash[MS_JOURNAL_HASH]; /* zeros: a file that could not be read */
    int64_t n_tokens, full_length;
    int64_t bytes, mtime_ns;
    const char *path;           /* [path_len], not NUL-terminated */
    uint32_t path_len, name_at; /* the row name begins at path[name_at] */
    const char *detail;         /* [detail_len], not NUL-terminated */
    uint16_t detail_len;
    const float *vectors; /* [n_rows, dim] of a content with tokens */
    /* Spans of the rows, each a window of the piece: [n_windows]; 0: one row, the whole piece. */
    const ms_stored_span *spans;
    const ms_stored_bars *bars; /* [n_windows]; NULL: not known */
    uint32_t n_windows;
    int64_t at; /* byte of the record; set when it is read */
} ms_journal_record;

/* The most windows that a record has room for at this width. */
int64_t ms_journal_windows_most(int64_t dim);

/* Visit every record that was synced, in order. What a record points to is gone after the visit; a
 * result < 0 ends the loading. A torn end of *n_lost bytes is cut off, and the journal is ready for
 * more records. */
int ms_journal_load(ms_journal *journal,
                    int (*visit)(void *user, const ms_journal_record *record, msim_error *err),
                    void *user, int64_t *n_lost, msim_error *err);
/* Append a record. Returns the byte at which the record will be (>= 0), or < 0. Syncs when enough
 * records have gathered. */
int64_t ms_journal_add(ms_journal *journal, const ms_journal_record *record, msim_error *err);
/* Sync if it is time to, without a new record. */
int ms_journal_tick(ms_journal *journal, msim_error *err);
int ms_journal_sync(ms_journal *journal, msim_error *err);

/* Read the vector [dim] or the span of a content's row; only after a sync. n_windows as in the
 * record. */
int ms_journal_get_vector(const ms_journal *journal, int64_t at, uint32_t n_windows, uint32_t row,
                          float *vector, msim_error *err);
int ms_journal_get_span(const ms_journal *journal, int64_t at, uint32_t row, ms_stored_span *span,
                        msim_error *err);
/* Read the bars of a content's row, zeros when they are not known; only after a sync. */
int ms_journal_get_bars(const ms_journal *journal, int64_t at, uint32_t row, ms_stored_bars *bars,
                        msim_error *err);
/* Read a content's detail (NUL-terminated, cut to cap); only after a sync. */
int ms_journal_get_detail(const ms_journal *journal, int64_t at, char *detail, size_t cap,
                          msim_error *err);

/* Read the packed notes of a record of notes; only after a sync. *bytes [*cap] grows as needed and
 * is the caller's; *n is set to their number. */
int ms_journal_get_notes(const ms_journal *journal, int64_t at, unsigned char **bytes, size_t *cap,
                         size_t *n, msim_error *err);

/* The corpus is whole: mark the journal as finished and keep it, or remove it. */
int ms_journal_finish(ms_journal *journal, bool is_kept, msim_error *err);
/* Unlock and close; an empty journal is removed. */
void ms_journal_close(ms_journal *journal);

#endif
