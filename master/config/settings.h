/* Every setting of the daemon but those of a pool: its field here, its row in settings.c. */
#ifndef MASTER_CONFIG_SETTINGS_H
#define MASTER_CONFIG_SETTINGS_H
#include "registry/protocol/pool_config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config_tls {
        char *certificate, *key; /* both or none */
        char *client_ca;
};

struct config_unix {
        char *mode, *user, *group; /* of socket files; NULL: those of the daemon */
        unsigned mode_bits;        /* mode as a number */
};

struct config_rate_limit {
        int64_t requests_per_second; /* of each token, and of each address without one; 0: no limit */
        int64_t burst;
};

struct tokens;

struct config_server {
        char **listen; /* each readable by listen_address_parse */
        char **allowed_origins, **allowed_hosts; /* see http_origin.h */
        char *tokens_file; /* readable by tokens_load; NULL: the API is open */
        struct config_tls tls;
        struct config_unix unix_socket;
        struct config_rate_limit rate_limit;
        int64_t max_connections, max_connections_per_address;
        int64_t max_body_bytes, max_message_bytes;
        int64_t request_timeout_ms; /* first byte to last byte of a request */
        int64_t idle_timeout_ms;    /* between requests */
        int64_t write_timeout_ms;   /* an answer that is not read */
};

struct config_redis {
        char *url; /* readable by redis_url_parse */
        int64_t connect_timeout_ms, request_timeout_ms;
        int64_t ping_interval_ms;
};

struct config_database {
        char *url;            /* "sqlite:PATH", "postgresql://…", "none:"; unless given, a file in run_dir */
        char *schema;         /* PostgreSQL: of our tables; NULL: public where they are there, else "agentpool" */
        bool pooled;          /* behind PgBouncer in transaction pooling */
        int64_t max_wait_ms;  /* a request waits this long for its commit, then 503 */
        int64_t history_days; /* events, executions and metrics are kept this long */
};

enum config_agent_log { CONFIG_AGENT_LOG_BOTH = 1, CONFIG_AGENT_LOG_FILES, CONFIG_AGENT_LOG_LOG, CONFIG_AGENT_LOG_NONE };

struct config_log {
        char *file; /* NULL: stderr */
        int level;  /* enum log_level */
        int format; /* enum log_format */
        int agents; /* enum config_agent_log: where what agents print goes */
        char *agents_dir; /* unless given, "agents" in run_dir */
        int64_t agents_max_bytes; /* of a file; each agent has two */
};

struct config_admission {
        int64_t min_available_memory_bytes; /* 0: not looked at */
        double min_available_memory_percent;
        double max_memory_pressure;         /* PSI: percent of the last 10 s in which somebody waited for memory */
};

struct config {
        struct config_server server;
        struct config_redis redis;
        struct config_database database;
        struct config_log log;
        struct config_admission admission;
        char *cgroup;               /* "auto", "off" or a directory of cgroup v2 */
        char *user, *group;         /* whom the daemon becomes when root starts it; NULL: nobody else */
        bool seccomp;               /* system calls that nothing here needs are refused */
        char *run_dir;              /* as written; the caller makes it absolute */
        double shutdown_timeout;    /* seconds, as written */
        int64_t shutdown_timeout_ms; /* the same in ms */
        int64_t master_lease_ms;    /* a master whose loop does not turn for so long is killed */
        int64_t max_workers_total;  /* of all pools together: the size of the forker's table */
        int64_t idempotency_ttl_seconds;
        struct pool_config **pools; /* in the file's order, NULL-terminated */
        size_t pool_count;
        struct tokens *tokens;      /* of server.tokens_file; NULL: none */
};

#define CONFIG_ERRORS_MAX SCHEMA_ERRORS_MAX
struct config_errors {
        unsigned count; /* reported; those after CONFIG_ERRORS_MAX are dropped */
        char lines[CONFIG_ERRORS_MAX][768]; /* "FILE:LINE:COLUMN: …", "environment variable NAME: …", "FILE: …" */
};

/* What agents print is kept in files of their own. */
bool config_keeps_agent_files(const struct config_log *log);

/* Adds one printf-made line. */
void config_fail(struct config_errors *errors, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The top level as the schema fills it. */
struct config_draft {
        struct config config;
        cJSON *pools;
};

extern const struct schema_field config_fields[];
#endif
