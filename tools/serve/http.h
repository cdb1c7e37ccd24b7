/* HTTP: one thread for all connections, by libmicrohttpd. A connection that asked for a search
 * sleeps until its task has ended. */
#ifndef MS_TOOLS_SERVE_HTTP_H
#define MS_TOOLS_SERVE_HTTP_H
#include "guard.h"
#include "tasks.h"

typedef struct ms_http ms_http;
/* Listen. guard->port is set to the port. */
int ms_http_open(const ms_serve_stock *stock, ms_tasks *tasks, ms_guard *guard, ms_http **out,
                 msim_error *err);
/* To be called a few times in a second: connections that are too slow are closed. */
void ms_http_tick(ms_http *http);
/* No more connections are accepted. */
void ms_http_quiesce(ms_http *http);
/* All tasks must have ended. */
void ms_http_close(ms_http *http);

#endif
