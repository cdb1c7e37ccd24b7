/* A closed pickle machine. It knows a fixed table of opcodes and turns them into tagged values. It
 * imports nothing and calls nothing. The caller's policy decides what a global, a call, a state or
 * a persistent id means. The policy also receives every list item and dict item as an event:
 * containers hold no items, so memory does not grow with them.
 *
 * A policy with `row` streams: the one list of the pickle holds any number of pairs. Each pair is
 * handed over when it is complete, and then forgotten. What is memoised after the list begins is
 * only counted. So memory does not grow with rows.
 *
 * Values point into the bytes read (texts, bytes) or into the machine (tuples). Tuples can be read
 * only inside a callback. One read is one call; the machine frees its memory before it returns.
 * docs/FORMATS.md. */
#ifndef MS_PICKLE_PICKLE_H
#define MS_PICKLE_PICKLE_H
#include "base/status.h"
#include <stdbool.h>

enum ms_pickle_tag {
    MS_PICKLE_NONE,
    MS_PICKLE_BOOL,   /* number: 0 or 1 */
    MS_PICKLE_INT,    /* number */
    MS_PICKLE_TEXT,   /* text, n bytes: UTF-8 (three-byte surrogates pass), not terminated */
    MS_PICKLE_GLOBAL, /* n: its place in the policy's table */
    MS_PICKLE_TUPLE,  /* n items: ms_pickle_items */
    MS_PICKLE_LIST,   /* n: the machine's number for it */
    MS_PICKLE_DICT,   /* likewise; number: the kind given to ms_pickle_new_dict, 0 for a plain
                       * one */
    MS_PICKLE_RECORD, /* the policy's own: n its kind, number whatever it likes */
    MS_PICKLE_BYTES,  /* text, n bytes */
    MS_PICKLE_FLOAT,  /* its value is not kept */
    MS_PICKLE_ROW     /* where a pair was that `row` has taken */
};

typedef struct {
    uint8_t tag;
    uint8_t depth; /* of nesting; set by the machine */
    uint32_t n;
    union {
        int64_t number;
        const char *text;
        size_t first; /* the machine's */
    } u;
} ms_pickle_value;

typedef struct ms_pickle ms_pickle;

/* Callbacks return 0 or a negative status, best made by ms_pickle_fail. One that is NULL refuses
 * what it would take. */
typedef struct {
    const struct ms_pickle_global {
        const char *module, *name;
    } * globals; /* borrowed: the only globals that pass, matched exactly */
    size_t n_globals;
    size_t max_bytes; /* the longest pickle */
    int (*reduce)(void *user, ms_pickle *p, uint32_t global, ms_pickle_value args,
                  ms_pickle_value *out);
    int (*build)(void *user, ms_pickle *p, ms_pickle_value object, ms_pickle_value state);
    int (*persist)(void *user, ms_pickle *p, ms_pickle_value id, ms_pickle_value *out);
    int (*append)(void *user, ms_pickle *p, ms_pickle_value list, ms_pickle_value item);
    int (*set_item)(void *user, ms_pickle *p, ms_pickle_value dict, ms_pickle_value key,
                    ms_pickle_value value);

    /* For arrays of objects. */
    size_t start;   /* where in the bytes the pickle begins; offsets in errors count from the first
                     * of all bytes */
    bool has_bytes; /* byte strings and 64-bit lengths may come */
    /* A pair that is complete and lies where an item of the list belongs; `append` then gets an
     * MS_PICKLE_ROW for it. With `row`, puts must number the memo 0, 1, 2, ... as Python's pickler
     * does. */
    int (*row)(void *user, ms_pickle *p, ms_pickle_value pair);
    /* A text that begins an item of the list was memoised as `slot`; a slot behind the list's
     * beginning is wanted. */
    int (*put)(void *user, ms_pickle *p, uint64_t slot, ms_pickle_value text);
    int (*recall)(void *user, ms_pickle *p, uint64_t slot, ms_pickle_value *out);
} ms_pickle_policy;

/* Read one pickle in bytes [n_bytes]; what follows its STOP is left alone. `where` names the source
 * in errors. Returns the offset behind STOP, with the one value left in *top. */
int64_t ms_pickle_read(const unsigned char *bytes, size_t n_bytes, const char *where,
                       const ms_pickle_policy *policy, void *user, ms_pickle_value *top,
                       msim_error *err);

/* For callbacks. Items of a tuple: [tuple.n], NULL for an empty one, valid until the callback
 * returns or makes a container. */
const ms_pickle_value *ms_pickle_items(const ms_pickle *p, ms_pickle_value tuple);
/* Items put into a list or dict so far. */
size_t ms_pickle_count(const ms_pickle *p, ms_pickle_value container);
/* A new dict of the caller's kind (an OrderedDict made by a call). */
int ms_pickle_new_dict(ms_pickle *p, int64_t kind, ms_pickle_value *out);
bool ms_pickle_text_is(ms_pickle_value v, const char *text);
/* What a value is, for messages: "a tuple", "an integer". */
const char *ms_pickle_tag_name(ms_pickle_value v);
/* Fail with MSIM_E_FORMAT: "bad pickle: WHERE, byte N: ..." */
int ms_pickle_fail(const ms_pickle *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* ms_grow for a callback's own table, its failure told to the machine's caller. */
int ms_pickle_grow(const ms_pickle *p, void **items, size_t *cap, size_t need, size_t item_bytes,
                   const char *what);

#endif
