/* Files to token ids, on several threads. The items come in the order of the list, and the threads
 * work some way ahead of the consumer. More files are read than encoded at a time, so that waits
 * for slow storage overlap. What is ahead is bounded in files and bytes.
 *
 * One thread consumes. An item's memory belongs to whoever took it. */
#ifndef MS_PIPELINE_INPUT_READER_H
#define MS_PIPELINE_INPUT_READER_H
#include "pipeline/input/files.h"

typedef struct ms_reader ms_reader;

typedef struct {
    const ms_files_list *files; /* borrowed until the reader is closed */
    int threads;                /* files encoded at a time; 0: one for each processor */
    bool is_shifted;            /* one variant moved by `semitones`, else the variants of
                             * `transpose_factor` */
    int semitones, transpose_factor;
    int64_t max_tokens;                 /* 0: no limit */
    int64_t window_tokens, window_step; /* spans of the windows of the first variant; 0: none */
    int64_t windows_most;               /* a piece of more is too large */
    bool wants_bars;                    /* bars of the windows too */
    /* Limits of memory that the files under way share; a file that needs more goes alone. */
    int64_t read_bytes;   /* for the bytes of files, decompressed; 0: 64 MiB */
    int64_t work_bytes;   /* for what encoding them takes, as estimated (encode.h); 0: 128 MiB */
    bool wants_notes;     /* n_notes and seconds of an item */
    bool may_claim_notes; /* claim may ask for notes */
    size_t ahead;         /* files that may be ahead, at most; 0: as many as are useful */
    bool is_background;   /* the threads yield to others (an encoder that runs meanwhile) */
    /* Chooses the files and their order: gives the number of the next one in the list, or returns
     * false when there is none. Called by any thread, by one at a time. NULL: all files, in the
     * order of the list. */
    bool (*take)(void *user, size_t *index);
    void *take_user;
    /* Called before a file is encoded, with the SHA-256 of its bytes after gzip. Gives the number
     * of this content; returns MS_CLAIM_VECTORS when it is to be encoded, MS_CLAIM_NOTES when its
     * notes are wanted, both or 0 (pipeline/dedup.h). Several threads call it at a time. NULL:
     * everything is encoded, nothing is hashed. */
    int (*claim)(void *user, const unsigned char *sha256, uint32_t *content, msim_error *err);
    void *claim_user;
    const msim_model *model; /* borrowed: whose tokens are wanted */
    /* Without a model: borrowed until the reader is open; NULL: midisim's tokens. */
    const msim_tokenizer_options *tokens;
    ms_watch *watch; /* borrowed, or NULL: of the thread that consumes */
} ms_reader_request;

typedef struct {
    const ms_files_entry *entry; /* borrowed from the list */
    size_t index;                /* of the entry in the list */
    bool has_content;            /* sha256 and content are set: the file was read and claim was
                                  * asked */
    int claimed;                 /* what claim asked for: MS_CLAIM_VECTORS, MS_CLAIM_NOTES */
    bool is_known;               /* claim asked for no ids: neither ids nor reason */
    unsigned char sha256[32];
    uint32_t content;
    int reason;   /* msim_skip_reason */
    char *detail; /* owned, or NULL */
    int32_t *ids; /* owned: the sequences one behind the other; NULL without
                                  * tokens */
    int64_t starts[13], n_seq;
    int64_t full_length; /* ids there would be without max_tokens, first variant */
    int64_t n_notes;     /* -1: not wanted */
    double seconds;      /* to the end of the last note */
    msim_span *spans;    /* owned: [n_spans], of its windows; NULL without */
    msim_bar_span *bars; /* owned: [n_spans], of the same; NULL: not wanted */
    int64_t n_spans;
    /* With MS_CLAIM_NOTES: why there are no notes, or the notes, as notes/build/kept.h packs
     * them. */
    int notes_reason;     /* msim_skip_reason */
    unsigned char *notes; /* owned: [n_notes_bytes]; NULL without */
    size_t n_notes_bytes;
} ms_reader_item;

enum ms_reader_state { MS_READER_END, MS_READER_ITEM, MS_READER_LATER };

int ms_reader_open(const ms_reader_request *request, ms_reader **out, msim_error *err);
/* The next file. Returns ITEM, END when there is none, or LATER when it is not ready and may_wait
 * is false. Returns < 0 when a thread failed or the caller stops. */
int ms_reader_next(ms_reader *reader, bool may_wait, ms_reader_item *item, msim_error *err);
void ms_reader_item_free(ms_reader_item *item);
/* For tests: the most that files under way took of both limits. */
void ms_reader_most(ms_reader *reader, int64_t *read_bytes, int64_t *work_bytes);
/* Stops the threads and drops what was not taken. */
void ms_reader_close(ms_reader *reader);

#endif
