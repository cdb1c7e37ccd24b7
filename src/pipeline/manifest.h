/* The inputs of a job: the list of files (or token lines), the content of each, and which of them
 * are still to be read. Earlier runs may have left a journal, or a corpus with the sources of its
 * rows. Both are matched against the list here; a file that matches is not read again. A file
 * matches by path (in a corpus: by row name), size and time.
 *
 * An entry costs 4 bytes here, beside its path. One thread, except for ms_manifest_take: the reader
 * calls it under its lock, and it only looks at entries that were not handed out yet. */
#ifndef MS_PIPELINE_MANIFEST_H
#define MS_PIPELINE_MANIFEST_H
#include "pipeline/dedup.h"
#include "pipeline/facts.h"
#include "pipeline/input/files.h"
#include "pipeline/disk/journal.h"

/* A corpus that is there already, with its description. */
typedef struct {
    msim_corpus *corpus; /* owned */
    ms_description description;
    ms_source *sources; /* owned: [description.rows], or NULL: it has none */
    int64_t n_pieces;   /* of its rows; without windows, as many as rows */
} ms_previous;

typedef struct {
    ms_files_list files; /* owned */
    ms_dedup *dedup;     /* owned */
    ms_facts facts;      /* owned: of the contents */
    uint32_t *content;   /* owned: [files.n]: what it holds, or MS_DEDUP_NONE */
    bool *had_row;       /* owned: [files.n] once the previous corpus was matched: that corpus has
                          * a row of the name */
    size_t content_cap, next;
    uint32_t *slots; /* owned: [n_slots]: entries by path, while journals are read */
    size_t n_slots;
    int64_t n_before, n_kept; /* entries that a journal settles, and the previous corpus */
    int64_t n_dropped;        /* rows of the previous corpus without an entry */
    ms_watch *watch;          /* borrowed, or NULL */
    /* Of a job that writes a note index too: entries whose notes are not known are read, even where
     * their vectors are. */
    bool wants_notes;
    const msim_notes *index; /* borrowed: the index that is there already, or NULL */
} ms_manifest;

/* Call this when `files` and wants_notes are filled in. watch (borrowed) may be NULL. */
int ms_manifest_open(ms_manifest *manifest, ms_watch *watch, msim_error *err);
void ms_manifest_close(ms_manifest *manifest);
/* The next entry to be read: a reader's default `take` (its user is the ms_manifest). */
bool ms_manifest_take(void *manifest, size_t *index);
/* A reader's claim (user: the ms_manifest). */
int ms_manifest_claim(void *manifest, const unsigned char *sha256, uint32_t *content,
                      msim_error *err);
/* Append an input that is no file. */
int ms_manifest_add(ms_manifest *manifest, const char *name, uint32_t content, msim_error *err);

/* Read a journal to its end; call ms_manifest_match first. Each level that the journal notes is
 * added to *description. */
int ms_manifest_load(ms_manifest *manifest, ms_journal *journal, int64_t max_tokens,
                     ms_description *description, msim_error *err);
/* The same for a journal that another process wrote; its records are appended to `journal`. is_now:
 * that process is of this run, so files that it could not read are refused here too. */
int ms_manifest_absorb(ms_manifest *manifest, ms_journal *journal, ms_journal *other,
                       int64_t max_tokens, ms_description *description, bool is_now,
                       msim_error *err);
/* Call this after the last journal of earlier runs: what they did not finish is to be done. */
void ms_manifest_settle(ms_manifest *manifest);
/* Call this after the last journal of this run, which is complete: an entry that no journal names
 * is a file that could not be read. */
int ms_manifest_complete(ms_manifest *manifest, msim_error *err);

/* Open the corpus at `path`. Fails when the corpus cannot be used, or when its description is
 * missing or of other rows. */
int ms_previous_open(const char *path, int dtype, ms_previous *previous, msim_error *err);
void ms_previous_close(ms_previous *previous);
/* Match the entries with the previous corpus, whose rows become contents. The corpus stays open as
 * long as the manifest. */
int ms_manifest_match(ms_manifest *manifest, const ms_previous *previous, msim_error *err);
/* Returns 0 when the previous corpus is what these inputs give: the names are the same, and so is
 * the content of each file whose size or time differs. Otherwise < 0; the error says what
 * differs. */
int ms_manifest_verify(const ms_manifest *manifest, const ms_previous *previous, msim_error *err);

/* The number of entries whose result is known. */
int64_t ms_manifest_count_done(const ms_manifest *manifest);
/* The entries that give rows, in order of name; equal names in order of the list. *rows [*n] is to
 * be freed with ms_free. *n_same entries have the name of the entry before. */
int ms_manifest_rows(const ms_manifest *manifest, uint32_t **rows, size_t *n, size_t *n_same,
                     msim_error *err);

#endif
