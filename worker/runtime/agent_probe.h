/* What a worker asks an agent again and again, to notice when it hangs: a request of the pool's probe, which neither its
 * master nor any client knows of. Inside the runtimes. */
#ifndef WORKER_RUNTIME_AGENT_PROBE_H
#define WORKER_RUNTIME_AGENT_PROBE_H
#include "common/id.h"
#include "registry/protocol/pool_config.h"

#include <event2/event.h>

struct agent_probe;

struct agent_probe_events {
        int (*ask)(void *arg, const char *method, int64_t deadline); /* 0; -EPIPE: it is ending; -ENOMEM; else it cannot be asked */
        void (*fail)(void *arg, const char *reason); /* too many were not answered; the probe is to be freed */
};

/* Asks from now on, every so many seconds as config says, or else every heartbeat_interval seconds. NULL: the pool has no
 * probe, or memory is out (logged). config and events are borrowed. */
struct agent_probe *agent_probe_new(struct event_base *base, const struct pool_probe_config *config, const struct id *agent_id,
        int32_t heartbeat_interval, const struct agent_probe_events *events, void *arg);
struct agent_probe *agent_probe_free(struct agent_probe *probe); /* NULL is fine; returns NULL */
/* It answered, if only with an error; or did not in time. NULL is fine. */
void agent_probe_answered(struct agent_probe *probe);
void agent_probe_missed(struct agent_probe *probe);
#endif
