/* Contract: tools/pipeline/reader.h. A ring of slots under one lock: threads take turns in rising
 * order, each turn with the file that is next, and fill the slot turn mod RING; the consumer
 * empties slots in the same order. A thread waits while its slot is still in use or too many bytes
 * are ahead, unless its file is the very next one, so that the consumer can never wait for good.
 *
 * There are more threads than may encode: a slow disk or network then has READS_AHEAD files to
 * fetch at a time, while the encoders, one for each thread asked for, are lent to whichever file is
 * ready. */
#define _GNU_SOURCE
#include "reader.h"
#include "base/digest.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define RING ((size_t)2048)             /* files ahead */
#define AHEAD_BYTES ((size_t)128 << 20) /* of token ids ahead */
#define READ_BYTES \
    ((int64_t)256 << 20) /* of files being read, as listed; one larger file
                                               * goes alone */
#define KEEP_IDS_BYTES \
    ((size_t)32 << 20) /* an encoder's larger buffer is given back after its
                                               * file */
#define READS_AHEAD 16

typedef struct {
    bool is_ready;
    ms_reader_item item;
} slot;

/* What one file at a time is encoded with. */
typedef struct encoder {
    msim_tokenizer *tokenizer; /* owned */
    int32_t *ids;              /* owned: [ids_cap] */
    size_t ids_cap;
    struct encoder *next_free;
} encoder;

struct ms_reader {
    ms_reader_request request;
    pthread_mutex_t lock;
    pthread_cond_t is_filled, has_room, has_encoder;
    encoder *encoders;           /* owned: [request.threads] */
    encoder *free_encoders;      /* those that are not lent */
    int64_t reading_bytes;       /* listed sizes of the files being read */
    slot *slots;                 /* owned: [RING] */
    size_t next_turn, next_out;  /* to be taken by a thread, by the consumer */
    size_t next_index;           /* entry of the next turn, when has_next */
    bool has_next, is_exhausted; /* take was asked for it; and said no */
    size_t ahead_bytes;
    bool is_closing;
    pthread_t *threads; /* owned */
    int n_threads;
};

/* ---- One file ---- */

static void set_failure(ms_reader_item *item, int reason, const char *detail) {
    item->reason = reason;
    item->detail = ms_cli_copy(detail);
}

static bool reserve_ids(encoder *w, size_t need) {
    if (need <= w->ids_cap) return true;
    int32_t *ids = need > SIZE_MAX / sizeof *ids ? NULL : malloc(need * sizeof *ids);
    if (!ids) return false;
    free(w->ids);
    w->ids = ids;
    w->ids_cap = need;
    return true;
}

static int64_t encode(encoder *w, const ms_reader_request *r, const ms_files_buffer *midi,
                      ms_reader_item *item, msim_error *err) {
    int64_t limit = r->max_tokens ? r->max_tokens : INT64_MAX;
    int factor = r->is_shifted ? 0 : r->transpose_factor;
    if (!reserve_ids(w, msim_tokenizer_bound(midi->n_bytes, factor, limit)))
        return ms_cli_fail(err, MSIM_E_MEMORY, "out of memory");
    if (!r->is_shifted)
        return msim_tokenizer_encode(w->tokenizer, midi->data, midi->n_bytes, factor, limit, w->ids,
                                     w->ids_cap, item->starts, err);
    int64_t n = msim_tokenizer_encode_at(w->tokenizer, midi->data, midi->n_bytes, r->semitones,
                                         limit, w->ids, w->ids_cap, err);
    item->starts[0] = 0;
    item->starts[1] = n;
    return n < 0 ? n : 1;
}

static void encode_file(encoder *w, const ms_reader_request *r, const ms_files_buffer *midi,
                        ms_reader_item *item) {
    msim_error err;
    int64_t n_seq = encode(w, r, midi, item, &err);
    if (n_seq == -MSIM_E_FORMAT || n_seq == -MSIM_E_EMPTY) {
        set_failure(item, ms_files_reason_of_outcome(msim_tokenizer_outcome(w->tokenizer)),
                    err.text);
    } else if (n_seq < 0) {
        set_failure(item, MS_FILES_UNREADABLE, err.text);
    } else {
        size_t bytes = (size_t)item->starts[n_seq] * sizeof *item->ids;
        item->n_seq = n_seq;
        item->full_length = msim_tokenizer_full_length(w->tokenizer);
        item->ids = ms_cli_alloc(bytes, 1);
        memcpy(item->ids, w->ids, bytes);
    }
    if (w->ids_cap * sizeof *w->ids > KEEP_IDS_BYTES) {
        free(w->ids);
        w->ids = NULL;
        w->ids_cap = 0;
    }
}

/* Size of a file when it was listed; what is not known counts little. */
static int64_t listed_bytes(const ms_reader *r, size_t index) {
    int64_t bytes = r->request.files->entries[index].bytes;
    return bytes > 0 ? bytes : 0;
}

static size_t item_bytes(const ms_reader_item *item) {
    return item->ids ? (size_t)item->starts[item->n_seq] * sizeof *item->ids : 0;
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
    size_t turn, index; /* of the slot, of the entry */
} turn;

/* The next turn, waiting for room; false when there is nothing more to do. */
static bool take_turn(ms_reader *r, turn *t) {
    bool is_taken = false;
    pthread_mutex_lock(&r->lock);
    for (;;) {
        if (r->is_closing || ms_cli_stopped() || !has_next(r)) break;
        size_t ahead = r->next_turn - r->next_out;
        bool fits = r->reading_bytes == 0 ||
                    r->reading_bytes + listed_bytes(r, r->next_index) <= READ_BYTES;
        if (fits && (ahead == 0 || (ahead < r->request.ahead && r->ahead_bytes < AHEAD_BYTES))) {
            *t = (turn){.turn = r->next_turn++, .index = r->next_index};
            r->has_next = false;
            r->reading_bytes += listed_bytes(r, t->index);
            is_taken = true;
            break;
        }
        pthread_cond_wait(&r->has_room, &r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return is_taken;
}

static encoder *borrow_encoder(ms_reader *r) {
    pthread_mutex_lock(&r->lock);
    while (!r->free_encoders) pthread_cond_wait(&r->has_encoder, &r->lock);
    encoder *w = r->free_encoders;
    r->free_encoders = w->next_free;
    pthread_mutex_unlock(&r->lock);
    return w;
}

/* Give back what was borrowed (w may be NULL) and put the item into its slot. */
static void deliver(ms_reader *r, const turn *t, const ms_reader_item *item, encoder *w) {
    pthread_mutex_lock(&r->lock);
    if (w) {
        w->next_free = r->free_encoders;
        r->free_encoders = w;
        pthread_cond_signal(&r->has_encoder);
    }
    r->slots[t->turn % RING] = (slot){.is_ready = true, .item = *item};
    r->ahead_bytes += item_bytes(item);
    /* Room is awaited by threads and, for its bytes, made here too: nobody waits while nothing is
     * being read. */
    int64_t bytes = listed_bytes(r, t->index);
    r->reading_bytes -= bytes;
    if (bytes > READ_BYTES / READS_AHEAD) pthread_cond_broadcast(&r->has_room);
    pthread_cond_signal(&r->is_filled);
    pthread_mutex_unlock(&r->lock);
}

/* Ask whether the contents of a file should be encoded. Contents without a hash are those of a file
 * that could not be read: no other hash may stand for them. */
static bool is_wanted(const ms_reader_request *request, const ms_files_buffer *midi,
                      ms_reader_item *item) {
    if (!request->claim) return true;
    msim_error err;
    if (ms_digest_of(MS_DIGEST_SHA256, midi->data, midi->n_bytes, item->sha256, &err) < 0) {
        set_failure(item, MS_FILES_UNREADABLE, err.text);
        return false;
    }
    item->has_content = true;
    item->is_known = !request->claim(request->claim_user, item->sha256, &item->content);
    return !item->is_known;
}

static void *run_worker(void *arg) {
    ms_reader *r = arg;
    ms_files_buffer buffer = {0};
    char detail[MS_FILES_DETAIL];
    turn t;
    /* Linux keeps a priority a thread: a low one lets the encoder's threads have the processors
     * first. */
    if (r->request.is_background) (void)setpriority(PRIO_PROCESS, (id_t)gettid(), 10);
    while (take_turn(r, &t)) {
        const ms_files_entry *entry = r->request.files->entries + t.index;
        ms_reader_item item = {.entry = entry, .index = t.index};
        encoder *w = NULL;
        detail[0] = 0;
        int reason = ms_files_read(entry, &buffer, detail);
        if (reason != MS_FILES_OK) {
            set_failure(&item, reason, detail);
        } else if (is_wanted(&r->request, &buffer, &item)) {
            w = borrow_encoder(r);
            encode_file(w, &r->request, &buffer, &item);
        }
        deliver(r, &t, &item, w);
    }
    ms_files_buffer_free(&buffer);
    return NULL;
}

static int open_encoders(ms_reader *r, msim_error *err) {
    size_t n = (size_t)r->request.threads;
    r->encoders = ms_cli_alloc(n, sizeof *r->encoders);
    for (size_t i = 0; i < n; i++) {
        int rc = msim_tokenizer_open(r->request.model, &r->encoders[i].tokenizer, err);
        if (rc < 0) return rc;
        r->encoders[i].next_free = r->free_encoders;
        r->free_encoders = &r->encoders[i];
    }
    return 0;
}

int ms_reader_open(const ms_reader_request *request, ms_reader **out, msim_error *err) {
    ms_reader *r = ms_cli_alloc(1, sizeof *r);
    sigset_t ours, before;
    r->request = *request;
    if (request->ahead == 0 || request->ahead > RING) r->request.ahead = RING;
    r->slots = ms_cli_alloc(RING, sizeof *r->slots);
    size_t n_threads = (size_t)request->threads + READS_AHEAD;
    if (n_threads > request->files->n) n_threads = request->files->n ? request->files->n : 1;
    r->threads = ms_cli_alloc(n_threads, sizeof *r->threads);
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&r->is_filled, &monotonic);
    pthread_cond_init(&r->has_room, &monotonic);
    pthread_cond_init(&r->has_encoder, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int rc = open_encoders(r, err);
    if (rc < 0) {
        ms_reader_close(r);
        *out = NULL;
        return rc;
    }
    /* Signals are the main thread's. */
    sigemptyset(&ours);
    sigaddset(&ours, SIGINT);
    sigaddset(&ours, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ours, &before);
    int failed = 0;
    while (!failed && (size_t)r->n_threads < n_threads) {
        failed = pthread_create(r->threads + r->n_threads, NULL, run_worker, r);
        if (!failed) r->n_threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    *out = r;
    if (r->n_threads > 0) return 0;
    ms_reader_close(r);
    *out = NULL;
    return ms_cli_fail(err, MSIM_E_MEMORY, "cannot start a thread: %s", strerror(failed));
}

int ms_reader_next(ms_reader *r, bool may_wait, ms_reader_item *item) {
    int state = MS_READER_ITEM;
    pthread_mutex_lock(&r->lock);
    slot *s = r->slots + r->next_out % RING;
    while (!s->is_ready) {
        struct timespec until;
        if ((r->next_out == r->next_turn && !has_next(r)) || ms_cli_stopped()) {
            state = MS_READER_END;
            break;
        }
        if (!may_wait) {
            state = MS_READER_LATER;
            break;
        }
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += 100000000; /* to look for signals */
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&r->is_filled, &r->lock, &until);
    }
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

void ms_reader_item_free(ms_reader_item *item) {
    free(item->detail);
    free(item->ids);
    *item = (ms_reader_item){0};
}

void ms_reader_close(ms_reader *r) {
    if (!r) return;
    pthread_mutex_lock(&r->lock);
    r->is_closing = true;
    pthread_cond_broadcast(&r->has_room);
    pthread_mutex_unlock(&r->lock);
    for (int i = 0; i < r->n_threads; i++) pthread_join(r->threads[i], NULL);
    for (int i = 0; i < r->request.threads; i++) {
        msim_tokenizer_close(r->encoders[i].tokenizer);
        free(r->encoders[i].ids);
    }
    free(r->encoders);
    for (size_t i = 0; i < RING; i++) ms_reader_item_free(&r->slots[i].item);
    pthread_cond_destroy(&r->is_filled);
    pthread_cond_destroy(&r->has_room);
    pthread_cond_destroy(&r->has_encoder);
    pthread_mutex_destroy(&r->lock);
    free(r->slots);
    free(r->threads);
    free(r);
}
