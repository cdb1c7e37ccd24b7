/* The CPU backend's table for api.c. Fills src/search/backend.h. */
#ifndef MS_CPU_BACKEND_H
#define MS_CPU_BACKEND_H
#include "search/backend.h"

const ms_backend *ms_cpu_backend(void);

#endif
