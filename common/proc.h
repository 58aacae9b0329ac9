/* What /proc says of one process. */
#ifndef COMMON_PROC_H
#define COMMON_PROC_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct proc_stat {
        char state;                 /* 'R', 'S', 'Z', … */
        pid_t parent, session;
        bool exiting;               /* it runs no program any more, and is a zombie soon */
        unsigned long long cpu_ticks; /* its own and of its children that it has reaped */
        unsigned long long rss_pages;
        unsigned long long started; /* clock ticks after boot: with the pid, this process and no other */
};

/* 0; -ESRCH when there is no such process (any more), or /proc hides it; or another -errno. */
int proc_stat(pid_t pid, struct proc_stat *ret_stat);
/* NULL, or why what /proc says is not of the processes here. */
const char *proc_flaw(void);
/* Of this process: resident bytes (0 when unknown); processor time in ms. */
uint64_t proc_own_rss(void);
uint64_t proc_own_cpu_ms(void);
#endif
