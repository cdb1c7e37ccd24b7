/* Searches that wait or run: a bounded queue, and the threads that answer them. A task belongs to
 * the connection that asked, which sleeps meanwhile; nothing but these threads touches a task
 * between ms_tasks_add and its end. */
#ifndef MS_TOOLS_SERVE_TASKS_H
#define MS_TOOLS_SERVE_TASKS_H
#include "ask.h"
#include "base/text/json.h"
#include "serve.h"
#include <stdatomic.h>

enum ms_task_stage {
    MS_TASK_WAITING,
    MS_TASK_READING,
    MS_TASK_FINDING,
    MS_TASK_EMBEDDING,
    MS_TASK_COMPARING,
    MS_TASK_WRITING,
    MS_TASK_DONE
};
/* "waiting" ... "done". */
const char *ms_task_stage_name(int stage);

typedef struct ms_task ms_task;
struct ms_task {
    ms_ask ask;               /* owned */
    int fd;                   /* of the connection, to see when it is closed; -1: none */
    void (*wake)(void *user); /* called once, at the end, by any thread; then the task is the
                                    * connection's again */
    void *user;
    atomic_int stage; /* ms_task_stage */
    atomic_bool is_cancelled;
    double began;
    int status;        /* HTTP's */
    ms_json_text body; /* owned: the answer */
    ms_task *next;
};
void ms_task_free(ms_task *task);
/* True when nobody waits for the answer any more: cancelled, or the connection is closed. */
bool ms_task_is_unwanted(const ms_task *task);
/* Make {"error": text} the answer. */
void ms_task_fail(ms_task *task, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

typedef struct ms_tasks ms_tasks;
int ms_tasks_open(const ms_serve_stock *stock, ms_tasks **out, msim_error *err);
/* Cancel all, and wait for the threads. Afterwards every task has ended, and no more are added. */
void ms_tasks_stop(ms_tasks *tasks);
void ms_tasks_close(ms_tasks *tasks);

enum ms_tasks_added { MS_TASKS_ADDED, MS_TASKS_FULL, MS_TASKS_TAKEN, MS_TASKS_STOPPING };
/* `prepare` is called, once the task is accepted, before any thread sees it. */
int ms_tasks_add(ms_tasks *tasks, ms_task *task, void (*prepare)(void *user));
/* False when no search has this id. */
bool ms_tasks_cancel(ms_tasks *tasks, const char *id);
/* {"id":...,"stage":...,"ahead":N,"seconds":N} into text. False when no search has this id. */
bool ms_tasks_describe(ms_tasks *tasks, const char *id, ms_json_text *text);

typedef struct {
    int64_t waiting, running, answered, refused, cancelled, workers;
} ms_tasks_counts;
ms_tasks_counts ms_tasks_count(ms_tasks *tasks);

#endif
