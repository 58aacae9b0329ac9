/* The environment over the configuration file: AGENTPOOL_<SECTION>_<KEY> for every setting outside pools, and the
 * common REDIS_URL, REDIS_HOST, REDIS_PORT, REDIS_DB, REDIS_PASSWORD, DATABASE_URL, PGBOUNCER_URL, MAX_CONNECTIONS,
 * LOG_LEVEL, PM_AGENT_HOST, PM_AGENT_PORT, CONNECTION_TIMEOUT. AGENTPOOL_ variables win over common ones, URLs over their
 * parts, PGBOUNCER_URL over DATABASE_URL. An empty variable counts as absent. */
#ifndef MASTER_CONFIG_CONFIG_ENV_H
#define MASTER_CONFIG_CONFIG_ENV_H
#include "master/config/settings.h"

#define CONFIG_OVERRIDES_MAX 64

/* Which variable a setting came from, for the errors. */
struct config_override {
        char pointer[64], variable[64];
};
struct config_overrides {
        unsigned count;
        struct config_override list[CONFIG_OVERRIDES_MAX];
};

/* Writes the variables' values into the file's tree, unjudged; fields are those of the top level. What cannot even be
 * written goes to errors. 0 or -ENOMEM. */
int config_env_apply(cJSON *tree, const struct schema_field *fields, char *const *environment,
        struct config_overrides *ret_overrides, struct config_errors *errors);
/* Names those variables that other servers of agents take and that have no meaning here, as "A, B", for one warning. */
const char *config_env_ignored(char *const *environment, char *names, size_t size);
/* The variable that set what pointer names, or NULL: it is from the file. */
const char *config_env_variable(const struct config_overrides *overrides, const char *pointer);
#endif
