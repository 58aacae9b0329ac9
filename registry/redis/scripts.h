/* The Lua scripts of the registry (registry/redis/scripts/NAME.lua), compiled into the program. */
#ifndef REGISTRY_REDIS_SCRIPTS_H
#define REGISTRY_REDIS_SCRIPTS_H
enum script {
        SCRIPT_RESERVE,
        SCRIPT_SEND,
        SCRIPT_RELEASE,
        SCRIPT_REPORT,
        SCRIPT_REGISTER,
        SCRIPT_HEARTBEAT,
        SCRIPT_DRAIN,
        SCRIPT_REAP,
        SCRIPT_SWEEP,
        SCRIPT_AGENT_STATUS,
        SCRIPT_ANNOUNCE,
        SCRIPT_CLEAR,
        SCRIPT_COUNT
};

/* "reserve", … */
const char *script_name(enum script script);
/* The text to load: the script's first line (which must stay first), the prelude, the rest. The caller's to free();
 * NULL when out of memory. */
char *script_text(enum script script);
#endif
