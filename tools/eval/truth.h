/* What belongs together, by the names of pieces. Each name has labels, and two names belong
 * together when they share one. A folder, a key that a pattern finds and a group are labels; a pair
 * of a file is a label that two names have. docs/QUALITY.md, Truth. */
#ifndef MS_TOOLS_EVAL_TRUTH_H
#define MS_TOOLS_EVAL_TRUTH_H
#include "eval.h"

typedef struct ms_eval_truth ms_eval_truth;

/* Read the truth that the settings name. Borrows the settings. */
int ms_eval_truth_open(const ms_eval_settings *set, ms_eval_truth **out, msim_error *err);
void ms_eval_truth_close(ms_eval_truth *truth);

/* Labels of several names: those of name i are labels[starts[i]] .. labels[starts[i + 1] - 1]. */
typedef struct {
    int64_t *labels; /* owned */
    int64_t *starts; /* owned: [n + 1] */
    int64_t n;
    size_t labels_cap, starts_cap;
} ms_eval_labels;

/* Add a name and its labels; it may have none. A name of a truth file is then known to be used. */
int ms_eval_truth_label(ms_eval_truth *truth, const char *name, size_t n_name, ms_eval_labels *out,
                        msim_error *err);
void ms_eval_labels_free(ms_eval_labels *labels);
/* Labels are 0 .. count - 1. */
int64_t ms_eval_truth_count(const ms_eval_truth *truth);

/* Names of a truth file that nobody has asked for since this was called last are not in the corpus:
 * say so, with similar names. Returns how many they are. */
int64_t ms_eval_truth_say_unused(ms_eval_truth *truth, const msim_corpus *corpus, const char *path,
                                 msim_error *err);

#endif
