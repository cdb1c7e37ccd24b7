/* Threads that read and tokenise files ahead of their consumer: pipeline/input/reader.h.
 *
 * A ring of slots lies under one lock. Threads take turns in rising order, each turn with the file
 * that is next, and fill the slot turn mod RING. The consumer empties slots in the same order. A
 * thread waits while its slot is still in use or too many bytes are ahead, unless its file is the
 * very next one; so the consumer never waits for ever.
 *
 * There are more threads than may encode. A slow disk or network then fetches READS_AHEAD files at
 * a time. The encoders, one for each thread that was asked for, are lent to whichever file is
 * ready.
 *
 * Memory has three limits, none of which depends on the number of threads: READ_BYTES for the files
 * being read, WORK_BYTES for those being encoded (by the estimate of encode.h), AHEAD_BYTES for
 * token ids. A file waits until it fits, or goes alone. docs/SCALE.md, section 5. */
#define _GNU_SOURCE
#include "pipeline/input/reader.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/hash/digest.h"
#include "pipeline/dedup.h"
#include "pipeline/input/encode.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define RING ((size_t)2048)            /* files ahead */
#define AHEAD_BYTES ((size_t)32 << 20) /* of token ids ahead */
#define READ_BYTES ((int64_t)64 << 20) /* of files being read; one larger file goes alone */
#define WORK_BYTES \
    ((int64_t)128 << 20) /* of memory to encode files; one that needs more goes alone */
#define READS_AHEAD 16

typedef struct {
    bool is_ready;
    ms_reader_item item;
} slot;

struct ms_reader {
    ms_reader_request request;
    pthread_mutex_t lock;
    pthread_cond_t is_filled, has_room, has_encoder;
    ms_encoder *encoders;      /* owned: [request.threads] */
    ms_encoder *free_encoders; /* those that are not lent */
    int64_t reading_bytes;     /* of the files being read: as listed, or more once gzip is undone */
    int64_t work_bytes;        /* estimates of the files being encoded */
    int64_t most_read_bytes, most_work_bytes; /* the largest that both were */
    int n_short;                              /* files that wait for room in work_bytes */
    int n_reading, n_alone;      /* files being read; those that wait to be read alone, or are */
    slot *slots;                 /* owned: [RING] */
    size_t next_turn, next_out;  /* to be taken by a thread, by the consumer */
    size_t next_index;           /* entry of the next turn, when has_next */
    bool has_next, is_exhausted; /* take was asked for it; and said no */
    size_t ahead_bytes;
    bool is_closing;
    msim_error failed;  /* of the first thread that failed; code 0 while none has */
    pthread_t *threads; /* owned */
    int n_threads;
};

/* ---- What files take ---- */

/* Size of a file when it was listed; what is not known counts little. */
static int64_t listed_bytes(const ms_reader *r, size_t index) {
    int64_t bytes = r->request.files->entries[index].bytes;
    return bytes > 0 ? bytes : 0;
}

static void add_reading(ms_reader *r, int64_t bytes) {
    r->reading_bytes += bytes;
    if (r->reading_bytes > r->most_read_bytes) r->most_read_bytes = r->reading_bytes;
}

static size_t item_bytes(const ms_reader_item *item) {
    return (item->ids ? (size_t)item->starts[item->n_seq] * sizeof *item->ids : 0) +
           (size_t)item->n_spans * (sizeof *item->spans + (item->bars ? sizeof *item->bars : 0)) +
           item->n_notes_bytes;
}

/* ---- Threads ---- */

/* True when there is a next file, which next_index then says. Under the lock. */
static bool has_next(ms_reader *r) {
    if (r->has_next || r->is_exhausted) return r->has_next;
    if (r->request.take)
        r->has_next = r->request.take(r->request.take_user, &r->next_index);
    else if ((r->has_next = r->next_turn < r->request.files->n))
        r->next_index = r->next_turn;
    r->is_exhausted = !r->has_next;
    if (r->is_exhausted) pthread_cond_signal(&r->is_filled);
    return r->has_next;
}

typedef struct {
    ms_reader *reader;  /* borrowed */
    size_t turn, index; /* of the slot, of the entry */
    int64_t bytes;      /* its part of reading_bytes */
    bool is_alone;      /* no other file is being read */
} turn;

/* The next turn, waiting for room; false when there is nothing more to do. */
static bool take_turn(ms_reader *r, turn *t) {
    bool is_taken = false;
    pthread_mutex_lock(&r->lock);
    for (;;) {
        if (r->is_closing || r->failed.code || ms_watch_is_stopped(r->request.watch) ||
            !has_next(r))
            break;
        size_t ahead = r->next_turn - r->next_out;
        bool fits = r->n_alone == 0 &&
                    (r->reading_bytes == 0 ||
                     r->reading_bytes + listed_bytes(r, r->next_index) <= r->request.read_bytes);
        if (fits && (ahead == 0 || (ahead < r->request.ahead && r->ahead_bytes < AHEAD_BYTES))) {
            *t = (turn){.reader = r,
                        .turn = r->next_turn++,
                        .index = r->next_index,
                        .bytes = listed_bytes(r, r->next_index)};
            r->has_next = false;
            r->n_reading++;
            add_reading(r, t->bytes);
            is_taken = true;
            break;
        }
        pthread_cond_wait(&r->has_room, &r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return is_taken;
}

/* An encoder, when one is free and a file that may take so many bytes fits beside those being
 * encoded. A file goes when no other is being encoded, however large it is. */
static ms_encoder *borrow_encoder(ms_reader *r, int64_t bytes) {
    pthread_mutex_lock(&r->lock);
    for (;;) {
        const bool fits = r->work_bytes == 0 || bytes <= r->request.work_bytes - r->work_bytes;
        if (fits && r->free_encoders) break;
        r->n_short += !fits;
        pthread_cond_wait(&r->has_encoder, &r->lock);
        r->n_short -= !fits;
    }
    ms_encoder *w = r->free_encoders;
    r->free_encoders = w->next_free;
    r->work_bytes += bytes;
    if (r->work_bytes > r->most_work_bytes) r->most_work_bytes = r->work_bytes;
    pthread_mutex_unlock(&r->lock);
    return w;
}

static void give_back_encoder(ms_reader *r, ms_encoder *w, int64_t bytes) {
    pthread_mutex_lock(&r->lock);
    w->next_free = r->free_encoders;
    r->free_encoders = w;
    r->work_bytes -= bytes;
    /* The one that is woken might be too large yet, and another one small enough. */
    if (r->n_short)
        pthread_cond_broadcast(&r->has_encoder);
    else
        pthread_cond_signal(&r->has_encoder);
    pthread_mutex_unlock(&r->lock);
}

/* All threads end, and the consumer learns of it: there is no item for this turn. */
static void fail(ms_reader *r, const msim_error *why) {
    pthread_mutex_lock(&r->lock);
    if (!r->failed.code) r->failed = *why;
    pthread_cond_broadcast(&r->has_room);
    pthread_cond_signal(&r->is_filled);
    pthread_mutex_unlock(&r->lock);
}

/* Put the item into its slot. */
static void deliver(ms_reader *r, const turn *t, const ms_reader_item *item) {
    pthread_mutex_lock(&r->lock);
    r->slots[t->turn % RING] = (slot){.is_ready = true, .item = *item};
    r->ahead_bytes += item_bytes(item);
    /* Room is awaited by threads and, for its bytes, made here too: nobody waits while nothing is
     * being read. */
    r->reading_bytes -= t->bytes;
    r->n_reading--;
    if (r->n_alone || t->bytes > r->request.read_bytes / READS_AHEAD)
        pthread_cond_broadcast(&r->has_room);
    pthread_cond_signal(&r->is_filled);
    pthread_mutex_unlock(&r->lock);
}

/* A file that was compressed grows to n_bytes: true when that fits beside the others being read. */
static bool may_grow(void *user, size_t n_bytes) {
    turn *t = user;
    ms_reader *r = t->reader;
    const int64_t more = (int64_t)n_bytes - t->bytes;
    pthread_mutex_lock(&r->lock);
    const bool fits = more <= 0 || t->is_alone || r->reading_bytes == t->bytes ||
                      more <= r->request.read_bytes - r->reading_bytes;
    if (fits && more > 0) {
        add_reading(r, more);
        t->bytes += more;
    }
    pthread_mutex_unlock(&r->lock);
    return fits;
}

/* Ask what is wanted of the contents of a file: MS_CLAIM_VECTORS, MS_CLAIM_NOTES, both or 0. */
static int what_is_wanted(const ms_reader_request *request, const ms_files_buffer *midi,
                          ms_reader_item *item, msim_error *err) {
    if (!request->claim) item->claimed = MS_CLAIM_VECTORS;
    if (!request->claim || item->has_content) return item->claimed; /* claimed already */
    int rc = ms_digest_of(MS_DIGEST_SHA256, midi->data, midi->n_bytes, item->sha256, err);
    if (rc < 0) return rc;
    rc = request->claim(request->claim_user, item->sha256, &item->content, err);
    if (rc < 0) return rc;
    item->has_content = true;
    item->claimed = rc;
    item->is_known = !(rc & MS_CLAIM_VECTORS);
    return rc;
}

/* Read a file and encode it into the item. */
static int read_item(ms_reader *r, ms_files_buffer *buffer, ms_reader_item *item, msim_error *err) {
    char detail[MS_FILES_DETAIL] = "";
    int reason = ms_files_read(item->entry, buffer, detail, err);
    if (reason < 0) return reason;
    if (reason != MSIM_SKIP_NONE) return ms_encode_failure(item, reason, detail, err);
    int wanted = what_is_wanted(&r->request, buffer, item, err);
    if (wanted <= 0) return wanted;
    const int64_t bytes = ms_encode_bytes(&r->request, buffer->n_bytes);
    ms_encoder *w = borrow_encoder(r, bytes);
    int rc = ms_encode_file(w, &r->request, buffer, item, err);
    give_back_encoder(r, w, bytes);
    return rc;
}

/* There was no memory for a file beside the others: once more, when the consumer has all files
 * before it and no other file is being read. What still does not fit is too large by itself. */
static int read_alone(ms_reader *r, turn *t, ms_files_buffer *buffer, ms_reader_item *item,
                      msim_error *err) {
    ms_files_buffer_free(buffer);
    item->reason = MSIM_SKIP_NONE;
    pthread_mutex_lock(&r->lock);
    r->n_alone++;
    pthread_cond_broadcast(&r->has_room); /* one that waits already may have waited for this one */
    while (!r->is_closing && !r->failed.code && !ms_watch_is_stopped(r->request.watch) &&
           (r->next_out != t->turn || r->n_reading > r->n_alone))
        pthread_cond_wait(&r->has_room, &r->lock);
    t->is_alone = true;
    pthread_mutex_unlock(&r->lock);
    msim_error why;
    int rc = read_item(r, buffer, item, &why);
    if (rc == -MSIM_E_MEMORY)
        rc = ms_encode_failure(item, MSIM_SKIP_NO_MEMORY, why.text, err);
    else if (rc < 0)
        *err = why;
    pthread_mutex_lock(&r->lock);
    r->n_alone--;
    pthread_cond_broadcast(&r->has_room);
    pthread_mutex_unlock(&r->lock);
    return rc;
}

static void *run_worker(void *arg) {
    ms_reader *r = arg;
    turn t;
    ms_files_buffer buffer = {.watch = r->request.watch, .may_grow = may_grow, .grow_user = &t};
    msim_error err;
    /* Linux keeps a priority a thread: a low one lets the encoder's threads have the processors
     * first. gettid() itself is younger than glibc 2.28. */
    if (r->request.is_background) (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10);
    while (take_turn(r, &t)) {
        const ms_files_entry *entry = r->request.files->entries + t.index;
        ms_reader_item item = {.entry = entry, .index = t.index};
        int rc = read_item(r, &buffer, &item, &err);
        if (rc == -MSIM_E_MEMORY) rc = read_alone(r, &t, &buffer, &item, &err);
        if (rc < 0) {
            ms_reader_item_free(&item);
            fail(r, &err);
            break;
        }
        deliver(r, &t, &item);
    }
    ms_files_buffer_free(&buffer);
    return NULL;
}

static int open_encoders(ms_reader *r, msim_error *err) {
    size_t n = (size_t)r->request.threads;
    r->encoders = ms_alloc(n, sizeof *r->encoders, "tokenisers", err);
    if (!r->encoders) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < n; i++) {
        int rc = ms_encoder_open(&r->encoders[i], &r->request, err);
        if (rc < 0) return rc;
        r->encoders[i].next_free = r->free_encoders;
        r->free_encoders = &r->encoders[i];
    }
    return 0;
}

static void open_conditions(ms_reader *r) {
    pthread_condattr_t monotonic;
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&r->is_filled, &monotonic);
    pthread_cond_init(&r->has_room, &monotonic);
    pthread_cond_init(&r->has_encoder, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static int start_threads(ms_reader *r, msim_error *err) {
    sigset_t all, before;
    size_t n = (size_t)r->request.threads + READS_AHEAD;
    if (n > r->request.files->n) n = r->request.files->n ? r->request.files->n : 1;
    r->threads = ms_alloc(n, sizeof *r->threads, "reader threads", err);
    if (!r->threads) return -MSIM_E_MEMORY;
    int failed = 0;
    sigfillset(&all); /* signals are the program's own threads' */
    pthread_sigmask(SIG_BLOCK, &all, &before);
    while (!failed && (size_t)r->n_threads < n) {
        failed = pthread_create(r->threads + r->n_threads, NULL, run_worker, r);
        if (!failed) r->n_threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r->n_threads > 0) return 0;
    return ms_fail(err, MSIM_E_MEMORY, "cannot start a thread: %s", strerror(failed));
}

int ms_reader_open(const ms_reader_request *request, ms_reader **out, msim_error *err) {
    ms_reader *r = ms_alloc(1, sizeof *r, "reader", err);
    int rc = 0;
    *out = NULL;
    if (!r) return -MSIM_E_MEMORY;
    r->request = *request;
    if (request->threads == 0) r->request.threads = ms_pool_processors();
    if (request->read_bytes == 0) r->request.read_bytes = READ_BYTES;
    if (request->work_bytes == 0) r->request.work_bytes = WORK_BYTES;
    if (request->ahead == 0 || request->ahead > RING) r->request.ahead = RING;
    open_conditions(r);
    r->slots = ms_alloc(RING, sizeof *r->slots, "reader", err);
    if (!r->slots) rc = -MSIM_E_MEMORY;
    if (rc >= 0) rc = open_encoders(r, err);
    if (rc >= 0) rc = start_threads(r, err);
    if (rc < 0) {
        ms_reader_close(r);
        return rc;
    }
    *out = r;
    return 0;
}

/* Wait until something changes, but not for long: the caller may want to stop. Under the lock. */
static void wait_a_little(ms_reader *r) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += 100000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&r->is_filled, &r->lock, &until);
}

/* ms_reader_state, or < 0, of the slot that is next. Under the lock, which is given up while the
 * caller is asked whether to stop. */
static int await_slot(ms_reader *r, const slot *s, bool may_wait, msim_error *err) {
    while (!s->is_ready) {
        if (r->failed.code) return ms_fail(err, r->failed.code, "%s", r->failed.text);
        if (r->next_out == r->next_turn && !has_next(r)) return MS_READER_END;
        if (!may_wait) return MS_READER_LATER;
        wait_a_little(r);
        pthread_mutex_unlock(&r->lock);
        bool is_stopped = ms_watch_is_stopped(r->request.watch);
        pthread_mutex_lock(&r->lock);
        if (is_stopped) return ms_watch_stop(err, "while reading files");
    }
    return MS_READER_ITEM;
}

int ms_reader_next(ms_reader *r, bool may_wait, ms_reader_item *item, msim_error *err) {
    pthread_mutex_lock(&r->lock);
    slot *s = r->slots + r->next_out % RING;
    int state = await_slot(r, s, may_wait, err);
    if (state == MS_READER_ITEM) {
        *item = s->item;
        *s = (slot){0};
        r->ahead_bytes -= item_bytes(item);
        r->next_out++;
        pthread_cond_broadcast(&r->has_room);
    }
    pthread_mutex_unlock(&r->lock);
    return state;
}

void ms_reader_most(ms_reader *r, int64_t *read_bytes, int64_t *work_bytes) {
    pthread_mutex_lock(&r->lock);
    *read_bytes = r->most_read_bytes;
    *work_bytes = r->most_work_bytes;
    pthread_mutex_unlock(&r->lock);
}

void ms_reader_item_free(ms_reader_item *item) {
    ms_free(item->detail);
    ms_free(item->ids);
    ms_free(item->spans);
    ms_free(item->bars);
    ms_free(item->notes);
    *item = (ms_reader_item){0};
}

void ms_reader_close(ms_reader *r) {
    if (!r) return;
    pthread_mutex_lock(&r->lock);
    r->is_closing = true;
    pthread_cond_broadcast(&r->has_room);
    pthread_mutex_unlock(&r->lock);
    for (int i = 0; i < r->n_threads; i++) pthread_join(r->threads[i], NULL);
    for (int i = 0; r->encoders && i < r->request.threads; i++) ms_encoder_close(&r->encoders[i]);
    ms_free(r->encoders);
    for (size_t i = 0; r->slots && i < RING; i++) ms_reader_item_free(&r->slots[i].item);
    pthread_cond_destroy(&r->is_filled);
    pthread_cond_destroy(&r->has_room);
    pthread_cond_destroy(&r->has_encoder);
    pthread_mutex_destroy(&r->lock);
    ms_free(r->slots);
    ms_free(r->threads);
    ms_free(r);
}
