/* A word for how a match relates to its query. */
#ifndef MS_NOTES_VERDICT_RELATION_H
#define MS_NOTES_VERDICT_RELATION_H
#include <midisim.h>

/* What the rules look at: matched notes, and the notes of both in all and in the regions that
 * agree. */
typedef struct {
    double matched, of_query, of_target, in_query, in_target;
    double residual; /* s */
} ms_agreement;

/* msim_relation of a match that is significant. */
int ms_relation_of(const ms_agreement *agreement);
double ms_identity_of(const ms_agreement *agreement);

#endif
