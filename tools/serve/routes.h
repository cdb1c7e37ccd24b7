/* What is answered at which path. */
#ifndef MS_TOOLS_SERVE_ROUTES_H
#define MS_TOOLS_SERVE_ROUTES_H
#include "guard.h"
#include "tasks.h"
#include <microhttpd.h>

/* A request, from its first line to the end of its answer. */
typedef struct {
    const ms_serve_stock *stock; /* borrowed, as is all but these two: */
    unsigned char *body;         /* owned: [n_body] */
    ms_task *task;               /* owned; NULL: none yet */
    ms_tasks *tasks;
    const ms_guard *guard;
    struct MHD_Connection *connection;
    const char *method, *path;
    size_t n_body, body_room, body_cap;
    size_t n_held; /* bytes that count as on their way */
    int fd;
    bool has_nul;         /* of the address, where a C string would end */
    bool is_full;         /* there is no memory for its body or its answer */
    atomic_bool *is_busy; /* of the connection: it waits for us, not for the client */
} ms_request;

/* What is known before the body: refuse what needs none of it. true: *result is the answer. */
bool ms_routes_refuse(ms_request *r, enum MHD_Result *result);
/* Answer, or begin to: a search lets the connection sleep. */
enum MHD_Result ms_routes_answer(ms_request *r);
/* The task has ended. */
enum MHD_Result ms_routes_end(ms_request *r);

#endif
