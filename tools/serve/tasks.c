/* Contract: tools/serve/tasks.h. */
#define _GNU_SOURCE
#include "tasks.h"
#include "answer.h"
#include "base/clock.h"
#include "base/mem.h"
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    ms_tasks *tasks;
    ms_answerer *answerer; /* owned */
    pthread_t thread;
    ms_task *running; /* borrowed; under the lock */
    bool is_started;
} task_worker;

struct ms_tasks {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    ms_task *first, **last; /* those that wait */
    int64_t n_waiting, cap;
    atomic_bool stops;
    task_worker *workers; /* owned: [n_workers] */
    size_t n_workers;
    int64_t n_answered, n_refused, n_cancelled;
};

/* ---- Jobs ---- */

const char *ms_task_stage_name(int stage) {
    static const char *const names[] = {"waiting",   "reading", "finding", "embedding",
                                        "comparing", "writing", "done"};
    return stage >= 0 && stage <= MS_TASK_DONE ? names[stage] : "";
}

void ms_task_free(ms_task *task) {
    if (!task) return;
    ms_ask_free(&task->ask);
    ms_json_text_free(&task->body);
    ms_free(task);
}

bool ms_task_is_unwanted(const ms_task *task) {
    struct pollfd p = {.fd = task->fd, .events = POLLRDHUP};
    if (atomic_load(&task->is_cancelled)) return true;
    return task->fd >= 0 && poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

void ms_task_fail(ms_task *task, int status, const char *format, ...) {
    char text[700];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ms_json_text_free(&task->body);
    task->body = (ms_json_text){0};
    ms_json_put(&task->body, "{\"error\":", 9);
    ms_json_put_string(&task->body, text, strlen(text));
    ms_json_put(&task->body, "}", 1);
    task->status = status;
}

/* The last that happens to a task here. Without the lock. */
static void end_task(ms_task *task) {
    atomic_store(&task->stage, MS_TASK_DONE);
    task->wake(task->user);
}

static void end_cancelled(ms_task *task, bool stops) {
    if (stops)
        ms_task_fail(task, 503, "the server ends");
    else
        ms_task_fail(task, 409, "the search was cancelled");
    end_task(task);
}

/* ---- Threads ---- */

/* The next task; NULL when the server ends. */
static ms_task *dequeue(task_worker *w) {
    ms_tasks *j = w->tasks;
    pthread_mutex_lock(&j->lock);
    while (!j->first && !atomic_load(&j->stops)) pthread_cond_wait(&j->filled, &j->lock);
    ms_task *task = atomic_load(&j->stops) ? NULL : j->first;
    if (task) {
        j->first = task->next;
        if (!j->first) j->last = &j->first;
        j->n_waiting--;
        w->running = task;
    }
    pthread_mutex_unlock(&j->lock);
    return task;
}

static void *work(void *user) {
    task_worker *w = user;
    ms_tasks *j = w->tasks;
    ms_task *task;
    while ((task = dequeue(w)) != NULL) {
        if (!ms_task_is_unwanted(task)) ms_answerer_run(w->answerer, task);
        const bool is_cancelled = ms_task_is_unwanted(task);
        pthread_mutex_lock(&j->lock);
        w->running = NULL;
        j->n_answered += !is_cancelled;
        j->n_cancelled += is_cancelled;
        pthread_mutex_unlock(&j->lock);
        if (is_cancelled)
            end_cancelled(task, false);
        else
            end_task(task);
    }
    return NULL;
}

static int start_worker(ms_tasks *j, size_t i, const ms_serve_stock *stock, int threads,
                        msim_error *err) {
    task_worker *w = &j->workers[i];
    w->tasks = j;
    int rc = ms_answerer_open(stock, threads, &j->stops, &w->answerer, err);
    if (rc < 0) return rc;
    rc = pthread_create(&w->thread, NULL, work, w);
    if (rc != 0) return ms_fail_errno(err, rc, "cannot start a thread");
    w->is_started = true;
    return MSIM_OK;
}

int ms_tasks_open(const ms_serve_stock *stock, ms_tasks **out, msim_error *err) {
    const int threads = ms_cli_threads(&stock->set->common);
    const int64_t n = stock->set->workers ? stock->set->workers : threads > 1 ? 2 : 1;
    ms_tasks *j = ms_alloc(1, sizeof *j, "the queue", err);
    *out = NULL;
    if (!j) return -MSIM_E_MEMORY;
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->filled, NULL);
    j->last = &j->first;
    j->cap = stock->set->queue;
    j->workers = ms_alloc((size_t)n, sizeof *j->workers, "threads", err);
    int rc = j->workers ? MSIM_OK : -MSIM_E_MEMORY;
    j->n_workers = j->workers ? (size_t)n : 0;
    for (size_t i = 0; i < j->n_workers && rc >= 0; i++)
        rc = start_worker(j, i, stock, threads > n ? threads / (int)n : 1, err);
    if (rc < 0) {
        ms_tasks_close(j);
        return rc;
    }
    *out = j;
    return MSIM_OK;
}

void ms_tasks_stop(ms_tasks *j) {
    pthread_mutex_lock(&j->lock);
    atomic_store(&j->stops, true);
    ms_task *task = j->first;
    j->first = NULL;
    j->last = &j->first;
    j->n_waiting = 0;
    pthread_cond_broadcast(&j->filled);
    pthread_mutex_unlock(&j->lock);
    while (task) {
        ms_task *next = task->next;
        end_cancelled(task, true);
        task = next;
    }
    for (size_t i = 0; i < j->n_workers; i++)
        if (j->workers[i].is_started) pthread_join(j->workers[i].thread, NULL);
    for (size_t i = 0; i < j->n_workers; i++) j->workers[i].is_started = false;
}

void ms_tasks_close(ms_tasks *j) {
    if (!j) return;
    ms_tasks_stop(j);
    for (size_t i = 0; i < j->n_workers; i++) ms_answerer_close(j->workers[i].answerer);
    pthread_cond_destroy(&j->filled);
    pthread_mutex_destroy(&j->lock);
    ms_free(j->workers);
    ms_free(j);
}

/* ---- The queue ---- */

/* With the lock: the search of this id, and how many are before it; NULL: none. */
static ms_task *find(const ms_tasks *j, const char *id, int64_t *ahead) {
    *ahead = 0;
    for (size_t i = 0; i < j->n_workers; i++)
        if (j->workers[i].running && strcmp(j->workers[i].running->ask.id, id) == 0)
            return j->workers[i].running;
    for (ms_task *task = j->first; task; task = task->next, ++*ahead)
        if (strcmp(task->ask.id, id) == 0) return task;
    return NULL;
}

/* With the lock: take what nobody waits for, or what has this id, out of the queue, as a list. */
static ms_task *remove_tasks(ms_tasks *j, const char *id) {
    ms_task *removed = NULL, **at = &j->first;
    while (*at) {
        ms_task *task = *at;
        if (id ? strcmp(task->ask.id, id) != 0 : !ms_task_is_unwanted(task)) {
            at = &task->next;
            continue;
        }
        *at = task->next;
        task->next = removed;
        removed = task;
        j->n_waiting--;
        j->n_cancelled++;
    }
    j->last = at;
    return removed;
}

static void end_all(ms_task *task) {
    while (task) {
        ms_task *next = task->next;
        end_cancelled(task, false);
        task = next;
    }
}

int ms_tasks_add(ms_tasks *j, ms_task *task, void (*prepare)(void *user)) {
    int64_t ahead;
    int added = MS_TASKS_ADDED;
    pthread_mutex_lock(&j->lock);
    ms_task *removed = j->n_waiting >= j->cap ? remove_tasks(j, NULL) : NULL;
    if (atomic_load(&j->stops))
        added = MS_TASKS_STOPPING;
    else if (task->ask.id[0] && find(j, task->ask.id, &ahead))
        added = MS_TASKS_TAKEN;
    else if (j->n_waiting >= j->cap)
        added = MS_TASKS_FULL;
    j->n_refused += added == MS_TASKS_FULL;
    if (added == MS_TASKS_ADDED) {
        task->began = ms_clock_now();
        task->next = NULL;
        prepare(task->user);
        *j->last = task;
        j->last = &task->next;
        j->n_waiting++;
        pthread_cond_signal(&j->filled);
    }
    pthread_mutex_unlock(&j->lock);
    end_all(removed);
    return added;
}

bool ms_tasks_cancel(ms_tasks *j, const char *id) {
    int64_t ahead;
    pthread_mutex_lock(&j->lock);
    ms_task *task = find(j, id, &ahead);
    if (task) atomic_store(&task->is_cancelled, true);
    ms_task *removed = remove_tasks(j, id);
    pthread_mutex_unlock(&j->lock);
    end_all(removed);
    return task != NULL;
}

bool ms_tasks_describe(ms_tasks *j, const char *id, ms_json_text *text) {
    char line[256] = "";
    int64_t ahead;
    pthread_mutex_lock(&j->lock);
    const ms_task *task = find(j, id, &ahead);
    if (task)
        snprintf(line, sizeof line,
                 "{\"id\":\"%s\",\"stage\":\"%s\",\"ahead\":%lld,\"seconds\":%.3f}", id,
                 ms_task_stage_name(atomic_load(&task->stage)), (long long)ahead,
                 ms_clock_now() - task->began);
    pthread_mutex_unlock(&j->lock);
    if (line[0]) ms_json_put(text, line, strlen(line));
    return line[0] != 0;
}

ms_tasks_counts ms_tasks_count(ms_tasks *j) {
    pthread_mutex_lock(&j->lock);
    ms_tasks_counts counts = {.waiting = j->n_waiting,
                              .answered = j->n_answered,
                              .refused = j->n_refused,
                              .cancelled = j->n_cancelled,
                              .workers = (int64_t)j->n_workers};
    for (size_t i = 0; i < j->n_workers; i++) counts.running += j->workers[i].running != NULL;
    pthread_mutex_unlock(&j->lock);
    return counts;
}
