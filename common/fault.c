#include "common/fault.h"

#ifdef AGENTPOOL_FAULTS
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FAULTS_MAX 16

enum fault_action { FAULT_KILL = 1, FAULT_STOP, FAULT_HANG, FAULT_DELAY, FAULT_ERROR };

struct fault {
        char *point;
        enum fault_action action;
        int number;          /* ms of a delay, errno of an error */
        unsigned long only;  /* 0: at every passage */
        atomic_ulong passed; /* in process pid */
        atomic_int pid;
};

static struct fault faults[FAULTS_MAX];
static size_t fault_count;

static int parse_errno(const char *name)
{
        for (int code = 1; code < 256; code++) {
                const char *known = strerrorname_np(code);

                if (known && strcmp(known, name) == 0)
                        return code;
        }
        return 0;
}

static bool parse_count(const char *text, unsigned long *ret_value)
{
        char *end;

        if (*text < '0' || *text > '9')
                return false;
        *ret_value = strtoul(text, &end, 10);
        return *end == '\0' && *ret_value <= 86400000;
}

static bool parse_action(struct fault *fault, const char *action)
{
        static const char *const plain[] = { [FAULT_KILL] = "kill", [FAULT_STOP] = "stop", [FAULT_HANG] = "hang" };
        unsigned long delay;

        for (int i = FAULT_KILL; i <= FAULT_HANG; i++) {
                if (strcmp(action, plain[i]) == 0) {
                        fault->action = (enum fault_action)i;
                        return true;
                }
        }
        if (strncmp(action, "delay:", 6) == 0 && parse_count(action + 6, &delay)) {
                fault->action = FAULT_DELAY;
                fault->number = (int)delay;
                return true;
        }
        if (strncmp(action, "error:", 6) == 0) {
                fault->action = FAULT_ERROR;
                fault->number = parse_errno(action + 6);
                return fault->number != 0;
        }
        return false;
}

/* spec is "point=action" or "point=action@N" and stays referred to. */
static bool parse_fault(struct fault *fault, char *spec)
{
        char *action = strchr(spec, '='), *only = strrchr(spec, '@');

        if (!action || action == spec)
                return false;
        *action++ = '\0';
        if (only) {
                if (only < action)
                        return false;
                *only++ = '\0';
                if (!parse_count(only, &fault->only) || fault->only == 0)
                        return false;
        }
        fault->point = spec;
        return parse_action(fault, action);
}

/* A test with a fault that cannot happen must not pass: it dies. */
static void load_faults(void)
{
        const char *text = getenv("AGENTPOOL_FAULT");
        char *copy = text && *text ? strdup(text) : NULL, *rest = copy, *spec;

        while ((spec = strsep(&rest, ",")) != NULL) {
                if (fault_count < FAULTS_MAX && parse_fault(&faults[fault_count], spec)) {
                        fault_count++;
                        continue;
                }
                log_error("fault.invalid", "spec=%s text=%s", LOG_Q(spec), LOG_Q(text));
                abort();
        }
}

static int strike(const struct fault *fault)
{
        struct timespec delay = { fault->number / 1000, fault->number % 1000 * 1000000L };

        log_warn("fault.strike", "point=%s action=%d number=%d", fault->point, (int)fault->action, fault->number);
        switch (fault->action) {
        case FAULT_KILL:
                raise(SIGKILL);
                break;
        case FAULT_STOP:
                raise(SIGSTOP);
                break;
        case FAULT_HANG:
                for (;;)
                        pause();
        case FAULT_DELAY:
                while (nanosleep(&delay, &delay) < 0 && errno == EINTR)
                        ;
                break;
        case FAULT_ERROR:
                return -fault->number;
        }
        return 0;
}

/* True when this passage is the one meant. A forked child counts its own. */
static bool is_due(struct fault *fault)
{
        int pid = (int)getpid();

        if (atomic_exchange(&fault->pid, pid) != pid)
                atomic_store(&fault->passed, 0);
        return fault->only == 0 || atomic_fetch_add(&fault->passed, 1) + 1 == fault->only;
}

/* The action that a file asks for, once: whoever can unlink it is struck. */
static int strike_from_file(const char *name)
{
        const char *directory = getenv("AGENTPOOL_FAULT_DIR");
        char path[512], action[64];
        struct fault fault = { .point = path };
        ssize_t len;
        int fd;

        if (!directory || snprintf(path, sizeof path, "%s/%s", directory, name) >= (int)sizeof path)
                return 0;
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return 0;
        len = read(fd, action, sizeof action - 1);
        close(fd);
        if (len <= 0 || unlink(path) < 0)
                return 0;
        action[len] = '\0';
        if (!parse_action(&fault, action)) {
                log_error("fault.invalid", "spec=%s text=%s", path, LOG_Q(action));
                abort();
        }
        return strike(&fault);
}

int fault_point(const char *name)
{
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        int r = 0;

        pthread_once(&once, load_faults);
        for (size_t i = 0; i < fault_count; i++)
                if (strcmp(faults[i].point, name) == 0 && is_due(&faults[i]) && r == 0)
                        r = strike(&faults[i]);
        return r == 0 ? strike_from_file(name) : r;
}
#else
struct fault; /* an empty translation unit is no C */
#endif
