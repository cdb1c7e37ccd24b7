/* The corpus that a job writes: what is checked before any work, and how the corpus and its
 * description take their places. Both are first written whole under other names, CORPUS.npy.next
 * and CORPUS.npy.json.next. Once the second file has its name, the change is decided: a run that
 * finds both files finishes the change. So a corpus stands beside the description of another corpus
 * only until the same command runs again. One thread. */
#ifndef MS_PIPELINE_DISK_OUTPUT_H
#define MS_PIPELINE_DISK_OUTPUT_H
#include "pipeline/disk/description.h"
#include "pipeline/watch.h"

typedef struct {
    const char *path;                      /* of the corpus */
    const char *name_field, *vector_field; /* NULL: the usual ones */
    int dtype;                             /* msim_dtype */
    ms_watch *watch;                       /* borrowed, or NULL */
} ms_output;

/* What is written: rows in their order. */
typedef struct {
    void *user;
    const char *(*name)(void *user, int64_t row, size_t *len);
    int (*vector)(void *user, int64_t row, float *out, msim_error *err);
    ms_description_rows described; /* what the description says about each */
} ms_output_rows;

/* Check before any work that the folder can be written and that the path is a file or free.
 * *exists: a file is there. */
int ms_output_check(const ms_output *output, bool *exists, msim_error *err);
/* Finish a change that was decided, or remove what an undecided one left. Call this only under the
 * journal's lock. */
int ms_output_recover(const ms_output *output, msim_error *err);
/* Write description->rows rows of description->dim and the description, and put both in their
 * places. */
int ms_output_write(const ms_output *output, const ms_output_rows *rows,
                    const ms_description *description, msim_error *err);
/* Write the description alone, of the corpus that is there. */
int ms_output_describe(const ms_output *output, const ms_output_rows *rows,
                       const ms_description *description, msim_error *err);

#endif
