/* The whole protocol in one process: one master's rules, the rosters of its workers, the registry in memory, a store and a
 * network that lies, under a seeded random schedule of faults. Everything of one run is in struct sim. */
#ifndef TEST_SIM_SIM_H
#define TEST_SIM_SIM_H
#include "registry/core/pool.h"
#include "test/sim/registry_memory.h"
#include "registry/core/roster.h"
#include "registry/core/suspicion.h"

#include <stdarg.h>

#define SIM_POOLS 2
#define SIM_LATENCY 5 /* ms, of anything that goes from one process to another */

struct sim;
struct sim_worker;

/* Something that happens later, unless the worker (or that life of the master) it is for is dead by then. */
struct sim_event {
        int64_t at;
        uint64_t seq;
        struct sim_worker *worker; /* NULL: not for a worker */
        unsigned master;           /* the life of the master; 0: not for a master */
        void (*run)(struct sim *sim, void *arg);
        void *arg;
};

/* One connection to the registry or the store: answers come in the order of requests. Lost: what is unanswered fails; what
 * the server had received already, it may do all the same (before anything of the next connection). */
struct sim_link {
        int64_t request_at, answer_at;
        struct sim_over *pending; /* not answered */
        unsigned connection;      /* counts them, and tells whose subscription it was */
        bool up;                  /* the store's always is */
};

enum sim_outage { OUTAGE_NONE = 0, OUTAGE_DEAD, OUTAGE_HUNG };

struct sim_instance { /* a running agent; kept until the run ends */
        struct id agent_id;
        uint64_t epoch;
        struct sim_worker *worker;
        struct hosted *hosted; /* NULL once it ended */
        bool alive;
        int64_t answers_until; /* told to end, and works on messages until then; 0: not that */
        struct sim_instance *next; /* of the same agent, older */
};

struct sim_worker {
        struct sim *sim;
        struct id process_id, master_id;
        unsigned pool;
        int pid;
        struct roster *roster;  /* NULL until its first welcome */
        bool alive, registered, registering, ready_wanted, doomed, ending, was_away;
        bool uses_registry;     /* as its master said last … */
        uint64_t generation;    /* … under this number */
        int64_t frozen_at, frozen_until; /* stopped from, until */
        uint64_t revision;
        unsigned live;          /* instances alive */
        struct sim_link registry;
        int64_t to_worker_at, to_master_at; /* its control socket keeps the order */
        struct sim_worker *next;
};

struct sim_row { /* of the store */
        struct id agent_id;
        unsigned pool;
        uint64_t epoch;
        enum agent_state state;
        uint32_t restarts;
        int32_t max_idle_time;
        bool present;
        UT_hash_handle hh;
};

/* A request of a client; the pools' waiter. */
struct sim_request {
        struct id agent_id;
        unsigned pool, master, answers; /* master: whose life it was asked in */
        bool terminate, refused;
        enum pool_error error;
        struct sim_request *next;
};

struct sim_promise { /* everything known of one agent outside of the system under test */
        struct id agent_id;
        unsigned pool;
        bool answered;    /* its spawn was answered with success */
        bool end_asked;   /* a terminate was sent, or it was idle: either outcome is right until it is answered */
        int64_t worked_at; /* when it started, or its messages changed */
        bool end_answered;
        bool released;    /* its slot was given back: the spawn failed */
        uint64_t started; /* the highest epoch that ever started */
        struct sim_instance *instances; /* newest first */
        UT_hash_handle hh;
};

struct sim_faults { /* chances in a thousand */
        unsigned lose, twice, late, start_fails, exhausted, start_hangs, agent_exits, worker_dies, worker_freezes, pause, worker_fails, fork_fails,
                master_dies, flush, registry_down, registry_cut, registry_flaps, registry_lies, store_down, store_slow;
};

struct sim {
        uint64_t seed, random, seq;
        bool verbose, failed, quiet; /* quiet: no more faults */
        char why[512];
        int64_t now, started_at, outage_until, store_down_until, store_slow_until;
        enum sim_outage outage; /* of the registry */
        uint64_t events_run;
        struct sim_event *events; /* a heap */
        size_t event_count, event_size;
        struct sim_chunk *arena;
        struct sim_faults faults;
        char pool_names[SIM_POOLS][16], command_text[16];
        struct pool_config configs[SIM_POOLS];
        struct registry_memory *registry;
        struct registry_memory *saved; /* as it was some time ago; NULL: never saved */
        struct sim_worker *workers;
        struct sim_row *rows;
        struct sim_promise *promises;
        struct sim_request *requests;
        struct sim_duty *duties;
        /* the master */
        unsigned master; /* counts its lives from 1 */
        bool master_alive, act_pending, closing;
        int64_t tick_at; /* when the next tick is due already; 0: none */
        struct id master_id;
        int64_t master_started_at;
        bool decided, degraded; /* decided: the registry was found up or away since the master's start */
        bool distrusted;
        uint64_t generation, since; /* of that decision; the first whose READYs count */
        unsigned clearing;
        struct pool *pools[SIM_POOLS];
        enum breaker_state breakers[SIM_POOLS][POOL_BREAKERS]; /* as the events that were carried out say */
        struct suspicion suspicion;
        int64_t silence_from;   /* silence counts from then, at the earliest */
        unsigned tries[SIM_POOLS];                             /* forks of a half open breaker under way */
        struct sim_link registry_link, store_link;
        int pids;
};

/* sim_world.c */
uint64_t sim_random(struct sim *sim);
uint64_t sim_below(struct sim *sim, uint64_t limit); /* 0 … limit - 1 */
bool sim_chance(struct sim *sim, unsigned per_thousand); /* never when quiet */
struct id sim_new_id(struct sim *sim);
void *sim_alloc(struct sim *sim, size_t size); /* zeroed; freed when the run ends */
void sim_free_all(struct sim *sim);
char *sim_text(struct sim *sim, const char *text);
void sim_at(struct sim *sim, int64_t at, struct sim_worker *worker, unsigned master, void (*run)(struct sim *, void *),
        void *arg);
bool sim_step(struct sim *sim); /* false: nothing left to happen */
void sim_trace(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_fail(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
struct sim_promise *sim_promise(struct sim *sim, const struct id *agent_id); /* made when new */
struct sim_worker *sim_worker(const struct sim *sim, const struct id *process_id);
struct sim_row *sim_row(const struct sim *sim, const struct id *agent_id); /* NULL: none, or deleted */
/* A request over a link: do_it now plus some latency, then answer, each in order. *result becomes -EAGAIN when the link is
 * lost, or not up. */
void sim_request_over(struct sim *sim, struct sim_link *link, struct sim_worker *worker, unsigned master,
        void (*do_it)(struct sim *, void *), void (*answer)(struct sim *, void *), void *arg, int *result);
void sim_link_lose(struct sim *sim, struct sim_link *link); /* what is unanswered fails now */

void sim_store(struct sim *sim, unsigned pool, const struct agent *agent, enum pool_action_type type, enum agent_state state);

/* sim_worker.c */
struct sim_worker *sim_worker_fork(struct sim *sim, unsigned pool, const struct id *process_id);
void sim_worker_die(struct sim *sim, struct sim_worker *worker, const char *why);
void sim_worker_command(struct sim_worker *worker, const char *text); /* from its channel or its control socket */
void sim_worker_control(struct sim *sim, struct sim_worker *worker, void (*run)(struct sim *, void *), void *arg);
void sim_worker_welcome(struct sim *sim, struct sim_worker *worker);
void sim_worker_stop(struct sim *sim, struct sim_worker *worker, bool end_agents);
void sim_worker_registry(struct sim *sim, struct sim_worker *worker); /* tells it what the master has decided */
void sim_worker_link_lost(struct sim *sim, void *worker);

/* sim_master.c */
void sim_master_start(struct sim *sim);
void sim_master_die(struct sim *sim);
void sim_master_wake(struct sim *sim);
void sim_master_reply(struct sim *sim, const char *text);
void sim_master_ready(struct sim *sim, struct sim_worker *worker);
void sim_master_command(struct sim *sim, const struct id *process_id, const char *text); /* by the control socket */
void sim_master_exited(struct sim *sim, struct sim_worker *worker, const char *why);

/* sim_registry.c */
void sim_registry_outage(struct sim *sim);     /* one begins, unless one lasts */
void sim_registry_cut(struct sim *sim, struct sim_worker *worker); /* one connection is; NULL: the master's */
void sim_registry_connect(struct sim *sim);    /* a master begins */
void sim_registry_distrust(struct sim *sim);   /* the master before did without it: its contents are out of date */
bool sim_registry_away(const struct sim *sim); /* no connection can be made */

/* sim_client.c */
void sim_client_spawn(struct sim *sim);
void sim_client_terminate(struct sim *sim);
void sim_client_restart(struct sim *sim);
void sim_client_rollout(struct sim *sim);
void sim_client_reset(struct sim *sim);

/* sim_duty.c */
void sim_duty_exited(struct sim *sim, const struct sim_worker *worker); /* before the rules hear of it */
void sim_duty_runs(struct sim *sim, const struct sim_worker *worker, const struct id *agent_id, uint64_t epoch);
void sim_duty_done(struct sim *sim, const struct pool_action *action);
void sim_duty_check(struct sim *sim); /* the actions of a turn are carried out */

/* sim_check.c */
void sim_check_now(struct sim *sim);   /* what holds at every moment */
void sim_check_action(struct sim *sim, unsigned pool, const struct pool_action *action); /* nothing is tried behind an open breaker */
void sim_check_start(struct sim *sim, const struct sim_promise *promise, const struct sim_instance *instance);
void sim_check_kill(struct sim *sim, const struct pool_worker *known, const struct sim_worker *worker);
void sim_check_answer(struct sim *sim, const struct sim_request *request);
void sim_check_idle(struct sim *sim, const struct agent *agent);
void sim_check_quiet(struct sim *sim); /* what holds once everything has settled */
void sim_check_closed(struct sim *sim);
#endif
