/* What a worker asks an agent again and again, to notice when it hangs: a request of the pool's probe, which neither its
 * master nor any client knows of. Inside the runtimes. */
#ifndef WORKER_RUNTIME_AGENT_PROBE_H
#define WORKER_RUNTIME_AGENT_PROBE_H
struct runtime_agent;
struct agent_probe;

/* It runs: asks it from now on, when its pool has a probe. */
void agent_probe_start(struct runtime_agent *agent);
/* It answered, if only with an error; or did not in time. */
void agent_probe_answered(struct runtime_agent *agent);
void agent_probe_missed(struct runtime_agent *agent);
void agent_probe_stop(struct runtime_agent *agent); /* no more of it; also when there is none */
#endif
