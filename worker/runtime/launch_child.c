#include "worker/runtime/launch_child.h"

#include <errno.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The child shares our memory until its exec, on a stack of its own; we stand still meanwhile (as in posix_spawn, which
 * sets neither limits nor cgroups). Without the sanitizer's marks on that stack: nobody would take them off again. */
#define IN_CHILD __attribute__((no_sanitize_address))
#define STACK_SIZE 65536

struct child {
        const struct launch *launch;
        const char *path;
        int directory;
        const char *volatile what; /* the step that failed; NULL: none */
        volatile int error;
};

IN_CHILD static void reset_signals(void)
{
        struct sigaction standard = { .sa_handler = SIG_DFL };
        sigset_t none;

        for (int number = 1; number <= SIGRTMAX; number++)
                sigaction(number, &standard, NULL); /* those that cannot be changed are at their default */
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
}

/* NULL, or what failed (errno). */
IN_CHILD static const char *prepare(const struct child *child)
{
        const struct launch *launch = child->launch;

        if (launch->cgroup && write(launch->cgroup, "0", 1) < 0)
                return "cannot place into its cgroup";
        if (setsid() < 0)
                return "cannot make a session for";
        for (unsigned i = 0; i < launch->limit_count; i++)
                if (setrlimit(launch->limits[i].resource, &launch->limits[i].limit) < 0)
                        return "cannot set the limits of";
        for (int i = 0; i < 3; i++)
                if (dup2(launch->fds[i], i) < 0)
                        return "cannot hand its descriptors to";
        if (child->directory >= 0 && fchdir(child->directory) < 0)
                return "cannot enter the directory of";
        /* A worker's effective group opens what is the daemon's: that is not for its agents. The bare call: that of the C
         * library would have all threads follow. */
        if (syscall(SYS_setresgid, -1, getgid(), getgid()) < 0)
                return "cannot set the group of";
        if (launch->nice != 0 && setpriority(PRIO_PROCESS, 0, launch->nice) < 0)
                return "cannot set the niceness of";
        if (launch->umask >= 0)
                umask((mode_t)launch->umask);
        close_range(3, ~0U, CLOSE_RANGE_CLOEXEC); /* all of ours are that already; those of a library may not be */
        return NULL;
}

IN_CHILD static int run_child(void *arg)
{
        struct child *child = arg;
        const char *what;

        reset_signals();
        what = prepare(child);
        if (!what) {
                execve(child->path, child->launch->argv.items, child->launch->env.items);
                what = "cannot execute";
        }
        child->error = errno;
        child->what = what;
        _exit(127);
}

pid_t launch_child(const struct launch *launch, const char *path, int directory, const char **ret_what)
{
        static _Alignas(16) char stack[STACK_SIZE]; /* one child at a time: we stand still until its exec */
        struct child child = { .launch = launch, .path = path, .directory = directory };
        sigset_t all, before;
        pid_t pid;

        /* No handler of ours may run in the child, in our memory. */
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, &before);
        pid = clone(run_child, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &child);
        if (pid < 0)
                child.error = errno;
        sigprocmask(SIG_SETMASK, &before, NULL);
        *ret_what = pid < 0 ? "cannot fork for" : child.what;
        if (pid >= 0 && !child.what)
                return pid;
        if (pid >= 0)
                waitpid(pid, NULL, 0);
        return -child.error;
}
