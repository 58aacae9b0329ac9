/* The settings as schema tables: name, kind, where it goes, limits, default. */
#include "master/config/settings.h"

#include <stdarg.h>
#include <stdio.h>

#define PETABYTE 1125899906842624.0
#define MINUTES_10 600000.0

#define SERVER(field) offsetof(struct config_server, field)
#define TLS(field) offsetof(struct config_tls, field)
#define UNIX(field) offsetof(struct config_unix, field)
#define RATE(field) offsetof(struct config_rate_limit, field)
#define REDIS(field) offsetof(struct config_redis, field)
#define DATABASE(field) offsetof(struct config_database, field)
#define LOG(field) offsetof(struct config_log, field)
#define ADMISSION(field) offsetof(struct config_admission, field)
#define TOP(field) offsetof(struct config_draft, config.field)
#define INTEGER(field, at, low, high, text) \
        { .name = #field, .type = SCHEMA_INTEGER, .offset = at(field), .min = (low), .max = (high), .fallback = (text) }

static const char *const level_words[] = { "debug", "info", "warn", "error", NULL };
static const char *const format_words[] = { "text", "json", "journal", NULL };
static const char *const agents_words[] = { "both", "files", "log", "none", NULL };

static const struct schema_field tls_fields[] = {
        { .name = "certificate", .type = SCHEMA_STRING, .offset = TLS(certificate), .min = 1, .max = 4095 },
        { .name = "key", .type = SCHEMA_STRING, .offset = TLS(key), .min = 1, .max = 4095 },
        { .name = "client_ca", .type = SCHEMA_STRING, .offset = TLS(client_ca), .min = 1, .max = 4095 },
        { .name = NULL },
};
static const struct schema_field unix_fields[] = {
        { .name = "mode", .type = SCHEMA_STRING, .offset = UNIX(mode), .min = 1, .max = 4, .fallback = "\"0660\"" },
        { .name = "user", .type = SCHEMA_STRING, .offset = UNIX(user), .min = 1, .max = 64 },
        { .name = "group", .type = SCHEMA_STRING, .offset = UNIX(group), .min = 1, .max = 64 },
        { .name = NULL },
};
static const struct schema_field rate_limit_fields[] = {
        INTEGER(requests_per_second, RATE, 0, 1000000, "0"),
        INTEGER(burst, RATE, 0, 1000000, "0"),
        { .name = NULL },
};
static const struct schema_field server_fields[] = {
        { .name = "listen", .type = SCHEMA_STRINGS, .offset = SERVER(listen), .min = 1, .max = 16,
                .fallback = "[\"127.0.0.1:8000\"]" },
        { .name = "allowed_origins", .type = SCHEMA_STRINGS, .offset = SERVER(allowed_origins), .max = 64, .fallback = "[]" },
        { .name = "allowed_hosts", .type = SCHEMA_STRINGS, .offset = SERVER(allowed_hosts), .max = 64, .fallback = "[]" },
        { .name = "tokens_file", .type = SCHEMA_STRING, .offset = SERVER(tokens_file), .min = 1, .max = 4095 },
        { .name = "tls", .type = SCHEMA_OBJECT, .offset = SERVER(tls), .fields = tls_fields },
        { .name = "unix", .type = SCHEMA_OBJECT, .offset = SERVER(unix_socket), .fields = unix_fields },
        { .name = "rate_limit", .type = SCHEMA_OBJECT, .offset = SERVER(rate_limit), .fields = rate_limit_fields },
        INTEGER(max_connections, SERVER, 1, 1000000, "1000"),
        INTEGER(max_connections_per_address, SERVER, 0, 1000000, "0"),
        INTEGER(max_body_bytes, SERVER, 1024, 1 << 30, "1048576"),
        INTEGER(max_message_bytes, SERVER, 1024, 1 << 30, "17825792"),
        INTEGER(request_timeout_ms, SERVER, 10, MINUTES_10, "10000"),
        INTEGER(idle_timeout_ms, SERVER, 10, MINUTES_10, "75000"),
        INTEGER(write_timeout_ms, SERVER, 10, MINUTES_10, "30000"),
        { .name = NULL },
};
static const struct schema_field redis_fields[] = {
        { .name = "url", .type = SCHEMA_STRING, .offset = REDIS(url), .min = 1, .max = 4096,
                .fallback = "\"embedded:\"" },
        INTEGER(connect_timeout_ms, REDIS, 10, MINUTES_10, "2000"),
        INTEGER(request_timeout_ms, REDIS, 10, MINUTES_10, "2000"),
        INTEGER(ping_interval_ms, REDIS, 10, MINUTES_10, "1000"),
        { .name = NULL },
};
static const struct schema_field database_fields[] = {
        { .name = "url", .type = SCHEMA_STRING, .offset = DATABASE(url), .min = 1, .max = 4096 },
        { .name = "schema", .type = SCHEMA_STRING, .offset = DATABASE(schema), .min = 1, .max = 63 },
        { .name = "pooled", .type = SCHEMA_BOOL, .offset = DATABASE(pooled), .fallback = "false" },
        INTEGER(max_wait_ms, DATABASE, 10, MINUTES_10, "5000"),
        INTEGER(history_days, DATABASE, 1, 36500, "30"),
        { .name = NULL },
};
static const struct schema_field log_fields[] = {
        { .name = "file", .type = SCHEMA_STRING, .offset = LOG(file), .nullable = true, .min = 1, .max = 4095 },
        { .name = "level", .type = SCHEMA_ENUM, .offset = LOG(level), .words = level_words, .fallback = "\"info\"" },
        { .name = "format", .type = SCHEMA_ENUM, .offset = LOG(format), .words = format_words, .fallback = "\"text\"" },
        { .name = "agents", .type = SCHEMA_ENUM, .offset = LOG(agents), .words = agents_words, .fallback = "\"both\"" },
        { .name = "agents_dir", .type = SCHEMA_STRING, .offset = LOG(agents_dir), .min = 1, .max = 4000 },
        INTEGER(agents_max_bytes, LOG, 4096, 1 << 30, "1048576"),
        { .name = NULL },
};
static const struct schema_field admission_fields[] = {
        INTEGER(min_available_memory_bytes, ADMISSION, 0, PETABYTE, "0"),
        { .name = "min_available_memory_percent", .type = SCHEMA_NUMBER, .offset = ADMISSION(min_available_memory_percent),
                .max = 100, .fallback = "0" },
        { .name = "max_memory_pressure", .type = SCHEMA_NUMBER, .offset = ADMISSION(max_memory_pressure), .max = 100,
                .fallback = "0" },
        { .name = NULL },
};
const struct schema_field config_fields[] = {
        { .name = "server", .type = SCHEMA_OBJECT, .offset = TOP(server), .fields = server_fields },
        { .name = "redis", .type = SCHEMA_OBJECT, .offset = TOP(redis), .fields = redis_fields },
        { .name = "database", .type = SCHEMA_OBJECT, .offset = TOP(database), .fields = database_fields },
        { .name = "log", .type = SCHEMA_OBJECT, .offset = TOP(log), .fields = log_fields },
        { .name = "admission", .type = SCHEMA_OBJECT, .offset = TOP(admission), .fields = admission_fields },
        { .name = "cgroup", .type = SCHEMA_STRING, .offset = TOP(cgroup), .min = 1, .max = 3000, .fallback = "\"auto\"" },
        { .name = "user", .type = SCHEMA_STRING, .offset = TOP(user), .min = 1, .max = 64 },
        { .name = "group", .type = SCHEMA_STRING, .offset = TOP(group), .min = 1, .max = 64 },
        { .name = "seccomp", .type = SCHEMA_BOOL, .offset = TOP(seccomp), .fallback = "true" },
        { .name = "run_dir", .type = SCHEMA_STRING, .offset = TOP(run_dir), .min = 1, .max = 4000, .fallback = "\"run\"" },
        { .name = "shutdown_timeout", .type = SCHEMA_NUMBER, .offset = TOP(shutdown_timeout), .max = 3600,
                .fallback = "30" },
        INTEGER(master_lease_ms, TOP, 2000, 3600000, "10000"),
        INTEGER(max_workers_total, TOP, 1, 65536, "4096"),
        INTEGER(idempotency_ttl_seconds, TOP, 1, 31536000, "86400"),
        { .name = "pools", .type = SCHEMA_TREE, .offset = offsetof(struct config_draft, pools) },
        { .name = NULL },
};

bool config_keeps_agent_files(const struct config_log *log)
{
        return log->agents == CONFIG_AGENT_LOG_BOTH || log->agents == CONFIG_AGENT_LOG_FILES;
}

void config_fail(struct config_errors *errors, const char *format, ...)
{
        va_list args;

        if (errors->count >= CONFIG_ERRORS_MAX)
                return;
        va_start(args, format);
        vsnprintf(errors->lines[errors->count++], sizeof *errors->lines, format, args);
        va_end(args);
}
