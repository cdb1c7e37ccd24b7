/* Between common/console.c and those who set it up: the name that messages begin with, whether
 * notes and progress are wanted (cli.c); silent ranks of several (ranks.c). */
#ifndef MS_TOOLS_COMMON_CONSOLE_H
#define MS_TOOLS_COMMON_CONSOLE_H
#include <stdbool.h>

void ms_console_set(const char *name, bool quiet); /* name: borrowed, for the life of the process */

/* Say nothing any more, but keep the first error's text ("" when there was none). */
void ms_console_mute(void);
const char *ms_console_kept(void);
/* Output goes through a launcher, which may be a terminal to us when it is none to the user: it is
 * taken as none. */
void ms_console_forwarded(void);
/* As if this process had got the signal. */
void ms_console_stop(int number);

#endif
