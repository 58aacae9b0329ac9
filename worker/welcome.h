/* The settings that a master sends to each of its workers (master/control/workers.c writes them). */
#ifndef WORKER_WELCOME_H
#define WORKER_WELCOME_H
#include "common/log.h"
#include "registry/protocol/control.h"
#include "registry/redis/redis_url.h"
#include "worker/runtime/agent_log.h"

struct welcome {
        struct pool_config *pool;
        struct redis_url redis_url;
        struct id master_id;
        char *host, *log_file, *run_dir;
        cJSON *credentials;           /* {name: base64}, see worker/runtime/credentials.h; NULL once written */
        struct agent_log_target agents; /* where what they print goes */
        bool agents_to_master;        /* their lines go to the master, which keeps the files */
        bool registry_up;             /* use it, or do without … */
        uint64_t registry_generation; /* … as decided under this number */
        uint32_t redis_connect_timeout_ms, redis_request_timeout_ms, redis_ping_interval_ms;
        enum log_level log_level;
        enum log_format log_format;
};

/* NULL when a setting is missing or wrong, or out of memory. */
struct welcome *welcome_read(const cJSON *settings);
struct welcome *welcome_free(struct welcome *welcome); /* NULL is fine; returns NULL */
#endif
