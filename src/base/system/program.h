/* Where the running program lies. */
#ifndef MS_BASE_SYSTEM_PROGRAM_H
#define MS_BASE_SYSTEM_PROGRAM_H
#include <stdbool.h>
#include <stddef.h>

/* The folder of the running program, without links and from the root on, into folder [cap]. This
 * does not need /proc. False when the program was not started by its path, or when the path is too
 * long. */
bool ms_program_folder(char *folder, size_t cap);
/* The same for the file that holds this code: the shared library in a program that loaded one, else
 * the program. */
bool ms_program_code_folder(char *folder, size_t cap);
/* The source tree whose build folder holds `folder`: TREE for TREE/build/CONFIG. False when it is
 * no such folder. */
bool ms_program_tree(const char *folder, char *tree, size_t cap);

#endif
