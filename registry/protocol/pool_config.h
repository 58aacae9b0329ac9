/* The settings of one pool: read from the configuration file by the master, sent to each worker as JSON. */
#ifndef REGISTRY_PROTOCOL_POOL_CONFIG_H
#define REGISTRY_PROTOCOL_POOL_CONFIG_H
#include "common/id.h"
#include "common/json/schema.h"

enum pool_runtime { POOL_RUNTIME_COMMAND = 1, POOL_RUNTIME_MODULE };
enum pool_placement { POOL_PACK = 1, POOL_SPREAD }; /* fullest worker with room first | emptiest first */
enum pool_restart { POOL_PERMANENT = 1, POOL_TRANSIENT, POOL_TEMPORARY }; /* always | on failure | never */

struct pool_runtime_config {
        int type;            /* enum pool_runtime */
        char **argv;         /* command: program and arguments, never through a shell; "${args.NAME}" is replaced */
        char *path;          /* module: the shared object */
        cJSON *env;          /* {string:string}, added to the clean environment of command agents */
        char *directory;     /* working directory of command agents; NULL: the daemon's */
        bool wait_ready;     /* command: started means it answered ready_method, not only that exec succeeded */
        char *ready_method;  /* the JSON-RPC method of that probe, "ping" */
        cJSON *credentials;  /* command: {name: file}, handed to agents as files */
        int stop_signal;     /* see pool_config_stop_signal */
        char *umask;         /* command: octal; NULL: the daemon's */
        int64_t nice;        /* command: 0: as the daemon */
        char *cancel_method; /* how an agent hears that a request is not waited for any more; "": not at all */
        bool strict_stdout;  /* command: a line that is no JSON-RPC, or too long, ends the agent */
        int64_t max_line_bytes;    /* longest line taken from an agent */
        int64_t max_depth;         /* levels of nesting inside a message's params, result or error */
        int64_t queue_bytes;       /* most bytes waiting to be read by an agent */
        int64_t log_bytes_per_second; /* of stderr taken into the log, the rest is counted and dropped */
        int64_t log_line_bytes;       /* a longer line of stderr is told in parts */
};

struct pool_probe_config {
        char *method;             /* the JSON-RPC method that tells whether an agent hangs; NULL: none is asked */
        int64_t interval_seconds; /* 0: the agent's own heartbeat_interval */
        int64_t timeout_ms;
        int64_t failures;         /* so many unanswered in a row: it hangs */
};

struct pool_restart_config {
        int policy;              /* enum pool_restart */
        int64_t intensity;       /* at most this many restarts … */
        int64_t period_seconds;  /* … in this time, then failed */
        int64_t delay_ms;        /* before the first restart after a failure; doubles … */
        int64_t delay_max_ms;    /* … up to this, with jitter */
        int64_t healthy_seconds; /* alive that long: counted as healthy, delay starts over */
};

/* What one command agent may use, its children included; 0: no limit. */
struct pool_limits_config {
        int64_t memory_bytes;
        int64_t cpu_percent; /* 100: one core */
        int64_t processes;
        int64_t open_files;
};

/* What a worker process itself may use (modules live in it); 0: no limit. */
struct pool_worker_limits_config {
        int64_t memory_bytes, open_files;
};

struct breaker_config {
        int64_t threshold;        /* so many failures … (0: it never opens) */
        int64_t window_seconds;   /* … in this time open it … */
        int64_t cooldown_seconds; /* … for this time */
        bool auto_reset;          /* false: until an operator resets it */
};

struct pool_config {
        char *pool_name; /* the key in "pools"; owned */
        char *role_type;
        struct id project_id;  /* of spawns that name none; zero unless set */
        int64_t max_idle_time; /* likewise; seconds, 0: never */
        struct pool_runtime_config runtime;
        struct pool_probe_config probe;
        struct pool_restart_config restart;
        struct breaker_config breaker; /* both of them */
        struct pool_limits_config limits;
        struct pool_worker_limits_config worker_limits;
        char *user, *group;  /* of its workers and agents; NULL: the daemon's */
        char **allowed_args; /* names that a spawn's args may use */
        int placement;       /* enum pool_placement */
        int64_t max_agents_per_worker, min_workers, max_workers, spare_workers;
        int64_t queue_max;             /* spawns that may wait for a slot */
        int64_t spawn_timeout_ms;      /* deadline of one spawn, from request to answer */
        int64_t start_timeout_ms;      /* deadline of an agent's start in its worker */
        int64_t worker_start_timeout_ms; /* fork to ready */
        int64_t drain_timeout_ms;      /* told to end → stdin closed, while messages are unanswered */
        int64_t stop_grace_ms;         /* stdin closed → TERM */
        int64_t kill_grace_ms;         /* TERM → KILL */
        int64_t worker_idle_timeout_ms;
        int64_t heartbeat_interval_ms; /* of workers */
        int64_t worker_lease_ms;       /* silence after which a worker is suspected */
};

/* What tells a program to end once its stdin is closed. */
int pool_config_stop_signal(const struct pool_runtime_config *runtime);

extern const struct schema_field pool_config_fields[]; /* everything but pool_name */

/* 0; -EINVAL with *errors; -ENOMEM. prefix is the pointer of settings, for the errors. Checks rules across fields, too
 * (argv for command, path for module, min <= max …). *ret_config is the caller's: pool_config_free. */
int pool_config_read(const char *pool_name, const cJSON *settings, const char *prefix, struct pool_config **ret_config,
        struct schema_errors *errors);
struct pool_config *pool_config_free(struct pool_config *config); /* NULL is fine; returns NULL */
/* As JSON with "pool_name": the settings are what pool_config_read reads. NULL when out of memory. */
cJSON *pool_config_print(const struct pool_config *config, bool mask);
#endif
