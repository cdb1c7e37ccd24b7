/* Between cli.c and talk.c: the name that messages begin with, and whether notes and progress are wanted. */
#ifndef MS_TOOLS_TALK_H
#define MS_TOOLS_TALK_H
#include <stdbool.h>

void ms_talk_set(const char *name, bool quiet); /* name: borrowed, for the life of the process */

#endif
