/* A file of the source tree as bytes in the program (.incbin; paths are relative to the tree's top).
 * EMBED(name, "path") defines name[] and name_size; name[name_size] is NUL. */
#ifndef COMMON_EMBED_H
#define COMMON_EMBED_H
#include <stddef.h>

#define EMBED(name, path)                                                                                    \
        __asm__(".section .rodata\n"                                                                         \
                ".balign 8\n"                                                                                \
                ".local " #name "\n" #name ":\n"                                                             \
                ".incbin \"" path "\"\n"                                                                     \
                ".local " #name "_end\n" #name "_end:\n"                                                     \
                ".byte 0\n"                                                                                  \
                ".previous\n");                                                                              \
        extern const char name[] __attribute__((visibility("hidden")));                                      \
        extern const char name##_end[] __attribute__((visibility("hidden")))
#define EMBED_SIZE(name) ((size_t)(name##_end - name))
#endif
