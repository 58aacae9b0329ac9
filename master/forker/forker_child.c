#include "master/forker/forker_child.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/fd.h"
#include "common/log.h"
#include "master/forker/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define HEALTHY_MS 10000

pid_t forker_fork(void)
{
        pid_t forker = getpid(), pid = FAULT_POINT("fork.before");
        sigset_t none;

        if (pid < 0)
                return pid;
        pid = fork();
        if (pid != 0)
                return pid < 0 ? -errno : pid;
        setsid();
        for (int number = 1; number < SIGRTMIN; number++)
                if (number != SIGPIPE && number != SIGXFSZ)
                        signal(number, SIG_DFL);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != forker)
                _exit(EXIT_FAILURE); /* the forker died before the line above */
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        notify_forget();
        if (FAULT_POINT("fork.child") < 0)
                _exit(EXIT_FAILURE);
        return 0;
}

pid_t forker_fork_linked(int lock, int *ret_end)
{
        int ends[2], keep[3], r = fd_packet_pair(ends);
        pid_t pid;

        if (r < 0)
                return r;
        pid = forker_fork();
        if (pid == 0) {
                keep[0] = ends[1];
                keep[1] = log_fd();
                keep[2] = lock;
                fd_close_all_but(keep, 3);
                *ret_end = ends[1];
                return 0;
        }
        fd_close(ends[1]);
        if (pid < 0)
                fd_close(ends[0]);
        else
                *ret_end = ends[0];
        return pid;
}

void forker_child_began(struct forker_child *child, pid_t pid)
{
        child->pid = pid;
        child->started_at = clock_mono_ms();
        child->start_at = INT64_MAX;
}

uint32_t forker_child_again(struct forker_child *child, bool at_once)
{
        int64_t now = clock_mono_ms();
        uint32_t pause = at_once ? 0 : backoff_next(&child->backoff, (uint32_t)now);

        child->pid = 0;
        child->start_at = now + pause;
        return pause;
}

bool forker_child_was_healthy(struct forker_child *child)
{
        bool healthy = clock_mono_ms() - child->started_at >= HEALTHY_MS;

        if (healthy)
                backoff_reset(&child->backoff);
        return healthy;
}

int forker_exit_status(int status)
{
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int forker_exit_signal(int status)
{
        return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

int forker_adopt_orphans(void)
{
        char path[64];

        prctl(PR_SET_CHILD_SUBREAPER, 1);
        snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
        return open(path, O_RDONLY | O_CLOEXEC);
}

void forker_kill_strays(int children_fd, bool (*is_known)(const void *arg, pid_t pid), const void *arg)
{
        char text[4096];
        pid_t group, pid = 0;
        ssize_t n;

        if (children_fd < 0 || lseek(children_fd, 0, SEEK_SET) < 0)
                return;
        while ((n = read(children_fd, text, sizeof text)) > 0)
                for (ssize_t i = 0; i < n; i++) {
                        if (text[i] != ' ') {
                                pid = pid * 10 + (text[i] - '0');
                                continue;
                        }
                        group = pid > 1 && !is_known(arg, pid) ? getpgid(pid) : -1;
                        if (group > 1 && group != getpgrp() && !is_known(arg, group))
                                kill(-group, SIGKILL);
                        if (group > 0)
                                kill(pid, SIGKILL);
                        pid = 0;
                }
}
