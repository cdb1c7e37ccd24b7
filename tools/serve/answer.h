/* The work of one thread: a request in, the JSON of its answer out. */
#ifndef MS_TOOLS_SERVE_ANSWER_H
#define MS_TOOLS_SERVE_ANSWER_H
#include "tasks.h"

typedef struct ms_answerer ms_answerer;
/* `stops` becomes true when the server ends. */
int ms_answerer_open(const ms_serve_stock *stock, int threads, const atomic_bool *stops,
                     ms_answerer **out, msim_error *err);
void ms_answerer_close(ms_answerer *a);
/* Fill in status and body of the task. */
void ms_answerer_run(ms_answerer *a, ms_task *task);

#endif
