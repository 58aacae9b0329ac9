/* Preloaded: lets allocations fail. While a file $MALLOC_FAIL_DIR/<pid> exists, every Nth of that process fails (N is in the
 * file; looked at now and then). With MALLOC_FAIL_ONLY=K, the Kth since the program's start, and no other; at its end such a
 * program says how many there were on descriptor $MALLOC_FAIL_COUNT. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOOK_EVERY 16

static atomic_ulong count;
static unsigned long only;
static char directory[256]; /* copied: a title for ps may take the environment's place */
static atomic_ulong every; /* as read last; 0: none fails */

/* glibc's own, which its header does not declare. */
extern void *__libc_malloc(size_t size);                 /* NOLINT(bugprone-reserved-identifier) */
extern void *__libc_calloc(size_t count, size_t size);   /* NOLINT(bugprone-reserved-identifier) */
extern void *__libc_realloc(void *memory, size_t size);  /* NOLINT(bugprone-reserved-identifier) */

__attribute__((constructor)) static void begin(void)
{
        const char *text = getenv("MALLOC_FAIL_ONLY"), *marks = getenv("MALLOC_FAIL_DIR");

        snprintf(directory, sizeof directory, "%s", marks ? marks : "");
        count = 0;
        only = text ? strtoul(text, NULL, 10) : 0;
}

__attribute__((destructor)) static void end(void)
{
        const char *text = getenv("MALLOC_FAIL_COUNT");

        if (text)
                dprintf(atoi(text), "%lu", atomic_load(&count));
}

/* Allocates nothing. */
static unsigned long look(void)
{
        char path[288], text[16] = "";
        int fd, saved = errno;

        snprintf(path, sizeof path, "%s/%d", directory, (int)getpid());
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && read(fd, text, sizeof text - 1) < 0)
                text[0] = '\0';
        if (fd >= 0)
                close(fd);
        errno = saved;
        return strtoul(text, NULL, 10);
}

static bool fails(void)
{
        unsigned long number = atomic_fetch_add(&count, 1) + 1, nth;

        if (*directory && number % LOOK_EVERY == 0)
                atomic_store(&every, look());
        nth = atomic_load(&every);
        if ((nth == 0 || number % nth != 0) && number != only)
                return false;
        errno = ENOMEM;
        return true;
}

void *malloc(size_t size)
{
        return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
        return fails() ? NULL : __libc_calloc(number, size);
}

void *realloc(void *memory, size_t size)
{
        return fails() ? NULL : __libc_realloc(memory, size);
}

void *reallocarray(void *memory, size_t number, size_t size)
{
        size_t bytes;

        if (__builtin_mul_overflow(number, size, &bytes)) {
                errno = ENOMEM;
                return NULL;
        }
        return realloc(memory, bytes);
}
