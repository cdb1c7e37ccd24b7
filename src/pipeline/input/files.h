/* Input files: walking folders, row names, and reading one file safely (regular files only, gzip,
 * size limit). Every file that gives no row has one reason. docs/FORMATS.md, Input files and row
 * names.
 *
 * A list owns its paths and is built by one thread; afterwards threads may share it for reading. A
 * buffer belongs to one thread and is reused from file to file; it gives large memory back. */
#ifndef MS_PIPELINE_INPUT_FILES_H
#define MS_PIPELINE_INPUT_FILES_H
#include "pipeline/watch.h"

#define MS_FILES_MAX_BYTES ((size_t)256 << 20) /* of a file, decompressed too */
#define MS_FILES_MAX_NAME 1024                 /* bytes of a row name */
#define MS_FILES_DETAIL 600                    /* bytes for the text behind a reason */

/* The reason that stands for an msim_outcome of the tokeniser. */
int ms_files_reason_of_outcome(int outcome);
/* True for a reason that is not about the file's contents: the next run tries the file again. */
bool ms_files_is_tried_again(int reason);
/* True when such a file makes the exit code 1. Only files without notes that were found in a folder
 * do not. */
bool ms_files_is_failure(int reason, bool is_named);

/* ---- Lists ---- */

typedef struct {
    const char *path;           /* owned by the list: what is opened */
    uint32_t name_at, name_len; /* the row name is path[name_at .. name_at + name_len) */
    uint32_t relative_at;       /* where the name by path begins, also with --names stem */
    uint8_t reason;             /* msim_skip_reason: OK, or why it is known to give nothing */
    bool is_named;              /* given by name, not found in a folder */
    bool is_stream;             /* "-": standard input */
    bool is_folder;             /* a folder that could not be read */
    int64_t bytes, mtime_ns;    /* at the time of listing; bytes -1: not known */
    const char *detail;         /* owned by the list: text behind the reason, or NULL */
} ms_files_entry;

typedef struct ms_files_block ms_files_block;
typedef struct {
    ms_files_entry *entries; /* owned: [n], in the order of the arguments, within a folder bytewise
                              * by name */
    size_t n, cap;
    ms_files_block *blocks; /* owned: the texts */
    size_t
        n_empty_folders; /* folders given by name that held nothing; the watch was told of each */
} ms_files_list;

typedef struct {
    const char *const *paths; /* files and folders: [n_paths] */
    size_t n_paths;
    const char *files_from;  /* file that lists more, "-": standard input, or NULL */
    bool is_nul_separated;   /* of files_from: -0 */
    bool has_stream;         /* "-" among the paths is standard input, not a file's name */
    int names;               /* msim_names */
    int64_t shard, n_shards; /* only the files of shard 1..n_shards; n_shards 0: all */
    ms_watch *watch;         /* borrowed, or NULL */
} ms_files_request;

/* Refuse a number among the options of a job, a walk or a searcher (`who`): -MSIM_E_ARG. */
int ms_files_refuse(const char *who, const char *what, const char *expected, int64_t got,
                    msim_error *err);
/* Check the options that jobs and walks share, which say what files and rows are. */
int ms_files_check(const char *who, int names, int64_t shard, int64_t n_shards, int transpose,
                   msim_error *err);
/* Check the options that jobs and searchers share, which say how a piece is cut into windows. */
int ms_files_check_windows(const char *who, int64_t window_tokens, int64_t window_step,
                           msim_error *err);
/* Pooling weights: as many as the model has classes; n_weights 0: that many. */
int ms_files_check_weights(const char *who, const float *weights, int n_weights,
                           const msim_model_info *info, msim_error *err);
/* The step of windows, for which options may have 0: half a window. */
static inline int64_t ms_files_window_step(int64_t window_tokens, int64_t window_step) {
    return window_step ? window_step : window_tokens / 2;
}
/* Fill a list (start from {0}). Folders are walked, links to folders inside them are not followed.
 * What cannot be used becomes an entry with its reason. Fails when files_from cannot be read, when
 * memory runs out, and with -MSIM_E_STOPPED. The texts of the request live as long as the list. */
int ms_files_list_open(const ms_files_request *request, ms_files_list *list, msim_error *err);
void ms_files_list_close(ms_files_list *list);

/* Append an input that is no file: its row name alone, which is copied. *out (may be NULL) is the
 * entry, until the list grows. */
int ms_files_list_add(ms_files_list *list, const char *name, ms_files_entry **out, msim_error *err);
/* Note that an entry gives no row. `detail` (may be NULL) is copied into the list. */
int ms_files_list_refuse(ms_files_list *list, ms_files_entry *entry, int reason, const char *detail,
                         msim_error *err);
/* The shard 1..n_shards of an input, which follows from its name by path; or < 0. */
int64_t ms_files_shard_of(const ms_files_entry *entry, int64_t n_shards, msim_error *err);

/* Bytewise comparison of two row names, as memcmp. */
int ms_files_compare_names(const ms_files_entry *a, const ms_files_entry *b);
/* The part of a path that `--names stem` uses: base name without .gz and its last extension. */
void ms_files_stem(const char *path, size_t *at, size_t *len);

/* ---- Reading ---- */

/* Start from {0}, with or without a watch. */
typedef struct {
    unsigned char *data; /* owned: the file, decompressed */
    size_t n_bytes, cap;
    unsigned char *packed; /* owned: scratch, the compressed bytes */
    size_t packed_cap;
    ms_watch *watch; /* borrowed, or NULL: who may stop the wait for a stream */
    /* Asked before compressed data grows to n_bytes; false: -MSIM_E_MEMORY. NULL: it may. */
    bool (*may_grow)(void *user, size_t n_bytes);
    void *grow_user;
} ms_files_buffer;

/* Read an entry, a path, or a stream such as standard input into the buffer. Returns
 * MSIM_SKIP_NONE, or a reason with a text in detail [MS_FILES_DETAIL]. Returns < 0 for a failure
 * that is not the file's: -MSIM_E_MEMORY, -MSIM_E_STOPPED. */
int ms_files_read(const ms_files_entry *entry, ms_files_buffer *buffer, char *detail,
                  msim_error *err);
int ms_files_read_path(const char *path, ms_files_buffer *buffer, char *detail, msim_error *err);
int ms_files_read_stream(int fd, ms_files_buffer *buffer, char *detail, msim_error *err);
void ms_files_buffer_free(ms_files_buffer *buffer);

#endif
