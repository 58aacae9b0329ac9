/* Preloaded into a daemon and its Redis: the wall clock is off by as many seconds as the first eight bytes of the file
 * $CLOCK_JUMP say, from one moment to the next and for all at once. The monotonic clock is let alone, as on a real machine. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset;

__attribute__((constructor)) static void map_offset(void)
{
        const char *path = getenv("CLOCK_JUMP");
        int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        void *map = fd >= 0 ? mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

        if (map != MAP_FAILED)
                offset = map;
        if (fd >= 0)
                close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
        int r = (int)syscall(SYS_clock_gettime, clock, now);

        if (r == 0 && offset && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
                now->tv_sec += *offset;
        return r;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
        struct timespec precise;

        (void)zone;
        if (clock_gettime(CLOCK_REALTIME, &precise) < 0)
                return -1;
        *now = (struct timeval){ .tv_sec = precise.tv_sec, .tv_usec = precise.tv_nsec / 1000 };
        return 0;
}

time_t time(time_t *ret_now)
{
        struct timespec now;

        clock_gettime(CLOCK_REALTIME, &now);
        if (ret_now)
                *ret_now = now.tv_sec;
        return now.tv_sec;
}
