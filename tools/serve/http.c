/* Contract: tools/serve/http.h. */
#define _GNU_SOURCE
#include "http.h"
#include "base/clock.h"
#include "base/mem.h"
#include "routes.h"
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    IDLE_SECONDS = 15,    /* without a byte */
    REQUEST_SECONDS = 60, /* for a request or an answer to pass, a search not counted */
    MAX_CONNECTIONS = 4096,
    OTHER_FILES = 64,
    CONNECTION_BYTES = 16 << 10,
    SEND_BYTES = 256 << 10, /* of an answer that the system may hold: no more for a slow reader */
    MAX_BODIES = 32         /* as many of the largest size are held at a time, answers among them */
};

/* A connection. */
typedef struct line line;
struct line {
    line *next, **at;
    int fd;
    double since;        /* the last request or answer began */
    atomic_bool is_busy; /* a search of it waits or runs */
    bool has_nul;        /* the address of its request */
};

struct ms_http {
    const ms_serve_stock *stock; /* borrowed */
    ms_tasks *tasks;             /* borrowed */
    const ms_guard *guard;       /* borrowed */
    struct MHD_Daemon *daemon;   /* owned */
    pthread_mutex_t lock;        /* over the lines */
    line *lines;
    size_t n_held; /* bytes of bodies and answers; of the thread of connections alone */
    int quiesced;  /* owned: the socket; -1: none */
};

/* ---- Connections ---- */

static line *line_of(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

/* Without memory for its line, a connection gets no answer. */
static void connected(void *user, struct MHD_Connection *connection, void **socket_context,
                      enum MHD_ConnectionNotificationCode what) {
    ms_http *h = user;
    msim_error err;
    line *l = *socket_context;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        l = ms_alloc(1, sizeof *l, "a connection", &err);
        *socket_context = l;
        if (!l) return;
        *l = (line){.fd = info ? info->connect_fd : -1, .since = ms_clock_now()};
        const int room = SEND_BYTES;
        (void)setsockopt(l->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room); /* else more */
    }
    if (!l) return;
    pthread_mutex_lock(&h->lock);
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        l->next = h->lines;
        l->at = &h->lines;
        if (l->next) l->next->at = &l->next;
        h->lines = l;
    } else {
        *l->at = l->next;
        if (l->next) l->next->at = l->at;
    }
    pthread_mutex_unlock(&h->lock);
    if (what == MHD_CONNECTION_NOTIFY_STARTED) return;
    ms_free(l);
    *socket_context = NULL;
}

static void touch(ms_http *h, line *l) {
    pthread_mutex_lock(&h->lock);
    l->since = ms_clock_now();
    pthread_mutex_unlock(&h->lock);
}

void ms_http_tick(ms_http *h) {
    const double now = ms_clock_now();
    pthread_mutex_lock(&h->lock);
    for (line *l = h->lines; l; l = l->next)
        if (!atomic_load(&l->is_busy) && now - l->since > REQUEST_SECONDS)
            shutdown(l->fd, SHUT_RDWR);
    pthread_mutex_unlock(&h->lock);
}

/* ---- Requests ---- */

/* Of paths, options and their values. Who gets the text sees no NUL in it. */
static size_t unescape(void *user, struct MHD_Connection *connection, char *text) {
    line *l = line_of(connection);
    (void)user;
    if (l && strstr(text, "%00")) l->has_nul = true;
    return MHD_http_unescape(text);
}

static bool is_full(const ms_http *h, size_t more) {
    const size_t cap = ((size_t)h->stock->set->max_body << 20) * MAX_BODIES;
    return h->n_held > cap || more > cap - h->n_held;
}

static ms_request *begin_request(ms_http *h, struct MHD_Connection *connection, const char *path,
                                 const char *method) {
    msim_error err;
    line *l = line_of(connection);
    ms_request *r = l ? ms_alloc(1, sizeof *r, "a request", &err) : NULL;
    if (!r) return NULL;
    *r = (ms_request){.stock = h->stock,
                      .tasks = h->tasks,
                      .guard = h->guard,
                      .connection = connection,
                      .method = method,
                      .path = path,
                      .fd = l->fd,
                      .has_nul = l->has_nul,
                      .is_full = is_full(h, 0),
                      .is_busy = &l->is_busy};
    l->has_nul = false;
    touch(h, l);
    return r;
}

/* What a request holds no more. */
static void drop_body(ms_http *h, ms_request *r) {
    h->n_held -= r->n_held;
    r->n_held = 0;
    ms_free(r->body);
    r->body = NULL;
    r->body_room = 0;
}

static void hold(ms_http *h, ms_request *r, size_t n) {
    h->n_held += n;
    r->n_held += n;
}

/* More of the body. MHD_NO closes the connection: a body of no announced length became too large.
 * Where there is no memory the rest is read, and then refused. */
static enum MHD_Result add_body(ms_http *h, ms_request *r, const char *bytes, size_t *n) {
    msim_error err;
    if (*n > r->body_cap - r->n_body) return MHD_NO;
    if (!r->is_full && is_full(h, *n)) {
        drop_body(h, r);
        r->is_full = true;
    }
    if (!r->is_full) {
        const size_t room = r->body_room;
        if (ms_grow((void **)&r->body, &r->body_room, r->n_body + *n, 1, "a body", &err) < 0)
            return MHD_NO;
        memcpy(r->body + r->n_body, bytes, *n);
        hold(h, r, r->body_room - room);
    }
    r->n_body += *n;
    *n = 0;
    return MHD_YES;
}

/* A refusal before the body also ends the connection. */
static bool has_body(const ms_request *r) {
    const char *length =
        MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, "Content-Length");
    return (length && strcmp(length, "0") != 0) ||
           MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, "Transfer-Encoding");
}

static enum MHD_Result handle(void *user, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *bytes,
                              size_t *n_bytes, void **context) {
    ms_http *h = user;
    ms_request *r = *context;
    enum MHD_Result result;
    (void)version;
    if (!r) {
        *context = r = begin_request(h, connection, path, method);
        if (!r) return MHD_NO;
        return has_body(r) && ms_routes_refuse(r, &result) ? result : MHD_YES;
    }
    r->path = path;
    r->method = method;
    if (*n_bytes) return add_body(h, r, bytes, n_bytes);
    touch(h, line_of(connection)); /* the answer begins */
    if (!has_body(r) && !r->task && ms_routes_refuse(r, &result)) return result;
    if (r->task) hold(h, r, r->task->body.n);
    return r->task ? ms_routes_end(r) : ms_routes_answer(r);
}

static void completed(void *user, struct MHD_Connection *connection, void **context,
                      enum MHD_RequestTerminationCode why) {
    ms_http *h = user;
    ms_request *r = *context;
    line *l = line_of(connection);
    (void)why;
    if (l) touch(h, l);
    if (!r) return;
    ms_task_free(r->task);
    drop_body(h, r);
    ms_free(r);
    *context = NULL;
}

/* ---- Listening ---- */

typedef union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} address;

/* A numeric address, and how a URL has it. */
static int read_address(const char *text, int port, address *out, bool *is_local, char *shown,
                        size_t cap, msim_error *err) {
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, text, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons((uint16_t)port);
        *is_local = ntohl(out->v4.sin_addr.s_addr) >> 24 == 127;
        snprintf(shown, cap, "%s", text);
        return MSIM_OK;
    }
    if (inet_pton(AF_INET6, text, &out->v6.sin6_addr) == 1) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons((uint16_t)port);
        *is_local = IN6_IS_ADDR_LOOPBACK(&out->v6.sin6_addr);
        snprintf(shown, cap, "[%s]", text);
        return MSIM_OK;
    }
    return ms_fail(err, MSIM_E_ARG, "--listen: expected a numeric address, got '%.80s'", text);
}

/* As many connections as there may be open files. */
static unsigned most_connections(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 256;
    if (limit.rlim_cur < MAX_CONNECTIONS + OTHER_FILES) {
        limit.rlim_cur = limit.rlim_max < MAX_CONNECTIONS + OTHER_FILES
                             ? limit.rlim_max
                             : MAX_CONNECTIONS + OTHER_FILES;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* else fewer */
        if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 256;
    }
    if (limit.rlim_cur >= MAX_CONNECTIONS + OTHER_FILES) return MAX_CONNECTIONS;
    return limit.rlim_cur > 2 * OTHER_FILES ? (unsigned)limit.rlim_cur - OTHER_FILES : OTHER_FILES;
}

static int listen_at(ms_http *h, const address *at, ms_guard *guard, msim_error *err) {
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO | MHD_ALLOW_SUSPEND_RESUME;
    if (at->any.sa_family == AF_INET6) flags |= MHD_USE_IPv6;
    errno = 0;
    h->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, handle, h, MHD_OPTION_SOCK_ADDR, &at->any,
        MHD_OPTION_NOTIFY_COMPLETED, completed, h, MHD_OPTION_NOTIFY_CONNECTION, connected, h,
        MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)IDLE_SECONDS, MHD_OPTION_CONNECTION_LIMIT, most_connections(),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES, MHD_OPTION_END);
    if (!h->daemon)
        return ms_fail_errno(err, errno ? errno : EADDRINUSE, "cannot listen at %s, port %lld",
                             guard->address, (long long)h->stock->set->port);
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_BIND_PORT);
    guard->port = info ? info->port : (int)h->stock->set->port;
    return MSIM_OK;
}

int ms_http_open(const ms_serve_stock *stock, ms_tasks *tasks, ms_guard *guard, ms_http **out,
                 msim_error *err) {
    const ms_serve_settings *set = stock->set;
    char shown[MS_GUARD_ADDRESS_BYTES];
    address at;
    bool is_local = false;
    *out = NULL;
    int rc = read_address(set->listen ? set->listen : "127.0.0.1", (int)set->port, &at, &is_local,
                          shown, sizeof shown, err);
    if (rc >= 0) rc = ms_guard_open(shown, is_local, guard, err);
    if (rc < 0) return rc;
    ms_http *h = ms_alloc(1, sizeof *h, "a server", err);
    if (!h) return -MSIM_E_MEMORY;
    *h = (ms_http){.stock = stock, .tasks = tasks, .guard = guard, .quiesced = -1};
    pthread_mutex_init(&h->lock, NULL);
    rc = listen_at(h, &at, guard, err);
    if (rc < 0) {
        ms_http_close(h);
        return rc;
    }
    *out = h;
    return MSIM_OK;
}

void ms_http_quiesce(ms_http *h) {
    if (h->quiesced < 0) h->quiesced = MHD_quiesce_daemon(h->daemon);
}

void ms_http_close(ms_http *h) {
    if (!h) return;
    if (h->daemon) MHD_stop_daemon(h->daemon);
    if (h->quiesced >= 0) close(h->quiesced);
    pthread_mutex_destroy(&h->lock);
    ms_free(h);
}
