/* What a job tells its caller, and whether the caller wants it to stop. The callbacks are called on
 * the thread that began the watch; every other thread only looks at a flag. Functions accept NULL:
 * then nothing is told, and nobody stops the job. */
#ifndef MS_PIPELINE_WATCH_H
#define MS_PIPELINE_WATCH_H
#include "midisim.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

typedef struct {
    int (*progress)(void *user, const msim_job_progress *progress); /* or NULL */
    void (*message)(void *user, int level, const char *text);       /* or NULL */
    void *user;
    pthread_t owner;        /* the thread that calls them */
    msim_job_progress last; /* what progress was told last */
    _Atomic bool is_stopped;
    bool has_said_lock; /* the message that files cannot be locked here is said once */
} ms_watch;

/* From now on the callbacks are called on this thread. */
void ms_watch_begin(ms_watch *watch);
/* Tokens of the step that is under way, for the next ms_watch_step. */
void ms_watch_tokens(ms_watch *watch, int64_t tokens, int64_t tokens_all);
/* So much of a step is done. True: stop. Only on the watch's own thread. */
bool ms_watch_step(ms_watch *watch, int step, int64_t done, int64_t all);
void ms_watch_end_step(ms_watch *watch);
/* True when the caller wants to stop. The watch's own thread asks the progress callback; any other
 * thread gets its last answer. */
bool ms_watch_is_stopped(ms_watch *watch);
/* Fill err (may be NULL) with "stopped WHAT" and return -MSIM_E_STOPPED. */
int ms_watch_stop(msim_error *err, const char *what);
/* Give the caller a line for the user (msim_message_level). Only on the watch's own thread. */
void ms_watch_say(ms_watch *watch, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* 1234567 -> "1,234,567". Returns buf, which has at least 32 bytes. */
char *ms_watch_count(char *buf, int64_t n);

#endif
