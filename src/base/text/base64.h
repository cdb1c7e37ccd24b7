/* Long texts of base64 as the last members of a JSON object: records of fixed size for each row of
 * a corpus, which may take 150 MB. They are written and read as a stream, and a reader that wants
 * only what stands before them reads the beginning of the file alone. docs/FORMATS.md,
 * CORPUS.npy.json. */
#ifndef MS_BASE_TEXT_BASE64_H
#define MS_BASE_TEXT_BASE64_H
#include "base/file.h"

/* Characters of n bytes, with padding. */
static inline int64_t ms_base64_chars(int64_t n_bytes) { return (n_bytes + 2) / 3 * 4; }

/* Add bytes to a file as base64. All but the last call of one text give a multiple of 3 bytes. */
void ms_base64_put(ms_out_file *file, const void *bytes, size_t n);

/* The beginning of such a file, which is open: more than the members before its texts take. */
typedef struct {
    int fd;
    char *text; /* owned: [n], with room for one byte more */
    size_t n;
} ms_base64_head;

/* Open a file and read its beginning. 1; 0: it is not there, or not a regular file; < 0: it cannot
 * be read. Only 1 leaves something to close. */
int ms_base64_open(const char *path, ms_base64_head *out, msim_error *err);
void ms_base64_close(ms_base64_head *head);

/* Where a member of an object stands whose value is a text: the comma before its key, and the
 * first character behind the opening quotation mark. `key` has its quotation marks. False when it
 * is not in head [n]. */
bool ms_base64_find(const char *head, size_t n, const char *key, size_t *comma, size_t *text);

/* Where the text of the member `key` begins in a file, if it comes behind the text that ends at
 * byte `at`. 0: another member does, or none. -1, with errno: the file cannot be read. */
int64_t ms_base64_find_behind(int fd, int64_t at, const char *key);

/* In a description, the texts that stand behind its settings, in this order, and the bytes that
 * each has for a row; that of the whitening is as long as the width asks for. */
enum { MS_TEXT_SPAN_BYTES = 24, MS_TEXT_SOURCE_BYTES = 32 };
#define MS_TEXT_SPANS "\"spans\""
#define MS_TEXT_SOURCES "\"sources\""
#define MS_TEXT_WHITENER "\"whitener\""
#define MS_TEXT_BARS "\"bars\""

/* Where the text of `key`, one of these, begins in an open description of n_rows rows; 0: it has
 * none; -1, with errno: it cannot be read. dim: the width of the rows, for what stands behind the
 * whitening. *settings_end: the comma behind the settings; 0: no text follows them up to `key`. */
int64_t ms_base64_find_text(const ms_base64_head *head, const char *key, int64_t n_rows,
                            int64_t dim, size_t *settings_end);

/* Decode the text that begins at byte `at` of a file: exactly n bytes, and then its closing
 * quotation mark. 1; 0 when something else is there; < 0 when memory runs out or reading fails. */
int ms_base64_read(int fd, int64_t at, void *to, size_t n, msim_error *err);
/* Up to n bytes of a file from byte `at`. < 0 when they cannot be read. */
int64_t ms_base64_read_raw(int fd, int64_t at, char *to, size_t n);

#endif
