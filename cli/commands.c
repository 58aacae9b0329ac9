#include "cli/commands.h"

#include <stddef.h>

#define YEAR 31536000.0
#define MANY 1e9

#define FLAG(long_name, short_name, text) { .name = (long_name), .letter = (short_name), .meaning = (text) }
#define TEXT(long_name, short_name, shown, what, text) \
        { .name = (long_name), .letter = (short_name), .value = (shown), .kind = (what), .meaning = (text) }
#define WORD(long_name, short_name, list, text) \
        { .name = (long_name), .letter = (short_name), .value = (list), .kind = CLI_WORD, .words = (list), .meaning = (text) }
#define NUMBER(long_name, short_name, shown, what, min, max, text) \
        { .name = (long_name), .letter = (short_name), .value = (shown), .kind = (what), .low = (min), .high = (max), .meaning = (text) }

#define AGENT_STATES "starting|idle|busy|stopping|stopped|failed|terminated"
#define WATCH FLAG("watch", 'w', "draw it again and again until interrupted"), \
        NUMBER("interval", 0, "TIME", CLI_DURATION, 0.1, 3600, "with --watch, how long between two times; 2 s unless said otherwise")
#define POOL(text) TEXT("pool", 0, "POOL", CLI_POOL, text)
#define PROJECT(letter, text) TEXT("project", letter, "UUID", CLI_FREE, text)

const struct cli_option cli_global_options[] = {
        TEXT("url", 'u', "URL", CLI_URL, "http://HOST:PORT, https://HOST:PORT or unix:PATH (AGENTPOOL_URL; http://127.0.0.1:8000 without either)"),
        TEXT("token-file", 't', "FILE", CLI_FILE, "its first line is the bearer token (AGENTPOOL_TOKEN_FILE, or AGENTPOOL_TOKEN itself)"),
        TEXT("ca-file", 'c', "FILE", CLI_FILE, "certificates to trust with https instead of the system's (AGENTPOOL_CA_FILE)"),
        TEXT("context", 0, "NAME", CLI_CONTEXT, "the daemon of that name (AGENTPOOL_CONTEXT); see agentpool help context"),
        WORD("output", 'o', "table|wide|json|yaml|name", "how answers are printed"),
        FLAG("quiet", 'q', "names or ids alone, as -o name"),
        WORD("color", 0, "auto|always|never", "colours; auto, on a terminal and without NO_COLOR, unless said otherwise"),
        FLAG("version", 'V', "the version"),
        FLAG("help", 'h', "this help, of a command: its own"),
        { 0 },
};

static const struct cli_option status_options[] = { WATCH, FLAG("ready", 0, "ask only whether a spawn can succeed; exit status 5 when not"), { 0 } };
static const struct cli_option ls_options[] = {
        POOL("of one pool"), WORD("state", 's', AGENT_STATES, "agents in one state"),
        TEXT("label", 'l', "NAME[=VALUE]", CLI_FREE, "agents with that label; may be repeated"), PROJECT('p', "agents of one project"),
        FLAG("ended", 0, "agents that have ended, for as long as history is kept"),
        NUMBER("limit", 'n', "COUNT", CLI_WHOLE, 1, MANY, "so many at most"), WATCH, { 0 },
};
static const struct cli_option top_options[] = {
        NUMBER("delay", 'd', "TIME", CLI_DURATION, 0.1, 3600, "between two frames; 2 s unless said otherwise"),
        NUMBER("frames", 'n', "COUNT", CLI_WHOLE, 1, MANY, "so many, then end"), { 0 },
};
static const struct cli_option spawn_options[] = {
        PROJECT('p', "whose agents they are; the pool's project unless said otherwise"),
        TEXT("role", 'r', "ROLE", CLI_FREE, "their role; the pool's unless said otherwise"),
        NUMBER("count", 'n', "COUNT", CLI_WHOLE, 1, 1e6, "how many; 1 unless said otherwise"),
        TEXT("label", 'l', "NAME=VALUE", CLI_PAIR, "a label; may be repeated"),
        TEXT("arg", 'a', "NAME=VALUE", CLI_PAIR, "an argument that the pool allows; may be repeated"),
        NUMBER("max-idle-time", 0, "TIME", CLI_DURATION, 0, YEAR, "end them when they had nothing to do for so long; 0: never"),
        NUMBER("heartbeat-interval", 0, "TIME", CLI_DURATION, 10, 86400, "between two signs of life"),
        FLAG("no-wait", 0, "answer as soon as they are promised, not when they run"), { 0 },
};
static const struct cli_option terminate_options[] = { FLAG("now", 0, "kill it without asking it to end"), { 0 } };
static const struct cli_option rollout_options[] = {
        NUMBER("batch-size", 'b', "COUNT", CLI_WHOLE, 1, 1000, "workers at a time; 1 unless said otherwise"),
        NUMBER("min-healthy", 0, "TIME", CLI_DURATION, 0, 3600, "how long new ones must live before the next batch; 10 s unless said otherwise"), { 0 },
};
static const struct cli_option message_options[] = {
        FLAG("notify", 0, "a notification, which has no answer"),
        NUMBER("timeout", 0, "TIME", CLI_DURATION, 0.001, 600, "how long to wait for the answer; 30 s unless said otherwise"), { 0 },
};
static const struct cli_option logs_options[] = {
        FLAG("follow", 'f', "go on with what it prints, until it ends"),
        NUMBER("lines", 'n', "COUNT", CLI_WHOLE, 1, 10000, "the last so many; 100 unless said otherwise"), { 0 },
};
static const struct cli_option executions_options[] = {
        WORD("status", 's', "running|completed|failed|timeout", "with one result"), POOL("of one pool"), PROJECT('p', "of one project"),
        NUMBER("limit", 'n', "COUNT", CLI_WHOLE, 1, MANY, "so many at most; 100 unless said otherwise"),
        FLAG("summary", 0, "counts, rate of success and durations instead"), { 0 },
};
static const struct cli_option stats_options[] = {
        WORD("metric", 'm', "utilization|executions|success_rate", "one of them over time instead"),
        WORD("range", 0, "1h|6h|24h|7d|30d", "how far back; 24h unless said otherwise"), POOL("of one pool"), { 0 },
};
static const struct cli_option plan_options[] = {
        NUMBER("tasks-per-hour", 't', "NUMBER", CLI_NUMBER, 1e-9, 1e300, "how many tasks come"),
        NUMBER("duration", 'd', "TIME", CLI_DURATION, 1e-9, 1e300, "how long one takes on average"),
        NUMBER("concurrency", 'c', "NUMBER", CLI_NUMBER, 1e-9, 1e300, "tasks that a worker holds; 10 unless said otherwise"),
        NUMBER("efficiency", 'e', "NUMBER", CLI_NUMBER, 1e-9, 1, "share of its time that a worker can use; 0.8 unless said otherwise"), { 0 },
};
/* Passed on as they are: test/check.py knows what they mean. */
static const struct cli_option check_options[] = {
        TEXT("run-dir", 0, "DIR", CLI_DIRECTORY, "the daemon's run_dir; found unless given"),
        TEXT("config", 0, "FILE", CLI_FILE, "its configuration; the running daemon's unless given"),
        TEXT("redis", 0, "URL", CLI_FREE, "its Redis; out of the configuration unless given"),
        TEXT("database", 0, "URL", CLI_FREE, "its database; out of the configuration unless given"),
        TEXT("ids", 0, "FILE", CLI_FILE, "agents that were answered, one a line; may be repeated"),
        TEXT("load", 0, "FILE", CLI_FILE, "a report of loadgen --json; may be repeated"),
        TEXT("command", 0, "POOL", CLI_POOL, "a pool whose agents are programs; may be repeated"),
        TEXT("baseline", 0, "FILE", CLI_FILE, "what --write-baseline wrote earlier"),
        TEXT("write-baseline", 0, "FILE", CLI_FILE, "where to write files and memory of now"),
        TEXT("settle", 0, "SECONDS", CLI_FREE, "how long what is on its way may take; 10 unless said otherwise"), { 0 },
};
static const struct cli_option context_options[] = { FLAG("force", 0, "set: also when there is one of that name"), { 0 } };

const struct cli_command cli_commands[] = {
        { "status", "", 0, 0, CLI_FREE, NULL, status_options, "health, and a line for each pool", NULL, cli_status },
        { "ls", "[agents|pools|workers]", 0, 1, CLI_WORD, "agents|pools|workers", ls_options, "what there is",
                "Agents unless said otherwise. -o wide shows more, -q ids alone: agentpool terminate $(agentpool ls -q --pool P).", cli_ls },
        { "top", "", 0, 0, CLI_FREE, NULL, top_options, "pools, workers, rates and latencies, drawn again and again",
                "The key q ends it. Without a terminal it prints one frame after the other.", cli_top },
        { "show", "AGENT|POOL", 1, 1, CLI_TARGET, NULL, NULL, "all that is known of one agent or pool", NULL, cli_show },
        { "why", "AGENT", 1, 1, CLI_AGENT, NULL, NULL, "where an agent is, why, and what became of it before", NULL, cli_why },
        { "spawn", "POOL", 1, 1, CLI_POOL, NULL, spawn_options, "new agents", NULL, cli_spawn },
        { "message", "AGENT METHOD [PARAMS]", 2, 3, CLI_AGENT, NULL, message_options, "a JSON-RPC request to an agent",
                "PARAMS is JSON, @FILE or - for standard input. Exit status 1 when the agent answers with an error.", cli_message },
        { "logs", "AGENT|POOL", 1, 1, CLI_TARGET, NULL, logs_options, "what agents printed to standard error",
                "With -f it ends when the agent has ended, with status 1 unless that went well. "
                "Lines of a pool's agents begin with their names; with -f it follows those that there are.", cli_logs },
        { "events", "[AGENT|POOL]", 0, 1, CLI_TARGET, NULL, NULL, "what happens, as it happens",
                "Of an agent also what it emits; it ends when the agent has ended, with status 1 unless that went well.", cli_events },
        { "restart", "AGENT…|POOL…", 1, -1, CLI_TARGET, NULL, NULL, "end agents and start them again; of a pool: all its agents", NULL, cli_restart },
        { "terminate", "AGENT…", 1, -1, CLI_AGENT, NULL, terminate_options, "end agents for good", NULL, cli_terminate },
        { "drain", "POOL…", 1, -1, CLI_POOL, NULL, NULL, "take no new agents", NULL, cli_pool_action },
        { "resume", "POOL…", 1, -1, CLI_POOL, NULL, NULL, "take new agents again", NULL, cli_pool_action },
        { "rollout", "POOL…", 1, -1, CLI_POOL, NULL, rollout_options, "replace a pool's workers batch by batch", NULL, cli_rollout },
        { "rollback", "POOL…", 1, -1, CLI_POOL, NULL, NULL, "go back to the program before the last upgrade", NULL, cli_pool_action },
        { "reset", "POOL…", 1, -1, CLI_POOL, NULL, NULL, "close a pool's breakers: try again now", NULL, cli_pool_action },
        { "executions", "[EXECUTION]", 0, 1, CLI_FREE, NULL, executions_options, "requests to agents, newest first; or one of them", NULL, cli_executions },
        { "stats", "", 0, 0, CLI_FREE, NULL, stats_options, "counters, or one figure over time", NULL, cli_stats },
        { "plan", "", 0, 0, CLI_FREE, NULL, plan_options, "how many workers a load needs",
                "By Little's law for the mean; the peak is twice that, and 30 % are kept as headroom.", cli_plan },
        { "check", "", 0, 0, CLI_FREE, NULL, check_options, "the seven checks of a running daemon, on its machine", NULL, cli_check },
        { "export", "", 0, 0, CLI_FREE, NULL, NULL, "pools and agents as JSON lines on standard output", NULL, cli_export },
        { "import", "", 0, 0, CLI_FREE, NULL, NULL, "take what export wrote, from standard input",
                "Same ids, epochs and settings. Pools must be configured; ids that exist are left alone.", cli_import },
        { "openapi", "", 0, 0, CLI_FREE, NULL, NULL, "the daemon's OpenAPI document", NULL, cli_openapi },
        { "context", "[use NAME|set NAME|rm NAME]", 0, 2, CLI_CONTEXT, NULL, context_options, "daemons by name",
                "Lists them; use makes one the default; set keeps what -u, -t and -c say under a name; rm forgets one. They are kept in "
                "$XDG_CONFIG_HOME/agentpool/config.json (~/.config): {\"current\": NAME, \"contexts\": {NAME: {\"url\": URL, \"token_file\": FILE, "
                "\"ca_file\": FILE}}}.", cli_context },
        { "help", "[COMMAND]", 0, 1, CLI_COMMAND, NULL, NULL, "this help, or that of a command", NULL, cli_print_help },
        { 0 },
};
