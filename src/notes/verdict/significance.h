/* How many hits as good chance would give: a score is set against those of decoys of the query.
 * docs/NOTES.md, Significance. */
#ifndef MS_NOTES_VERDICT_SIGNIFICANCE_H
#define MS_NOTES_VERDICT_SIGNIFICANCE_H
#include <midisim.h>
#include <stddef.h>
#include <stdint.h>

enum { MS_DECOYS = 3 };
/* No E is smaller: it would leave the range of a double, and be 0, which nothing is. */
#define MS_LEAST_EVALUE 1e-300

/* Decoy 0..2 of a query: its notes backwards, upside down, or both. They keep the query's texture
 * and repetitions. out [n]. */
void ms_decoy_make(const msim_note *notes, size_t n, int decoy, msim_note *out);
/* Where chance scores lie for a query of n notes among pieces of `searched` notes in all. */
double ms_chance_floor(size_t n, uint64_t searched);
/* The expected number of chance hits with at least `score`, when the best decoy has `decoy`. */
double ms_chance_hits(double score, double decoy, size_t n, uint64_t searched);
/* True when no decoy could change the verdict. */
int ms_chance_is_clear(double score, size_t n, uint64_t searched);

#endif
