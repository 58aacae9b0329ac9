#include "registry/redis/scripts.h"

#include "common/embed.h"

#include <stdio.h>
#include <string.h>

EMBED(script_prelude, "registry/redis/scripts/prelude.lua");
EMBED(script_reserve, "registry/redis/scripts/reserve.lua");
EMBED(script_send, "registry/redis/scripts/send.lua");
EMBED(script_release, "registry/redis/scripts/release.lua");
EMBED(script_report, "registry/redis/scripts/report.lua");
EMBED(script_register, "registry/redis/scripts/register.lua");
EMBED(script_heartbeat, "registry/redis/scripts/heartbeat.lua");
EMBED(script_drain, "registry/redis/scripts/drain.lua");
EMBED(script_reap, "registry/redis/scripts/reap.lua");
EMBED(script_sweep, "registry/redis/scripts/sweep.lua");
EMBED(script_agent_status, "registry/redis/scripts/agent_status.lua");
EMBED(script_announce, "registry/redis/scripts/announce.lua");
EMBED(script_clear, "registry/redis/scripts/clear.lua");

static const struct {
        const char *name;
        const char *text;
} scripts[SCRIPT_COUNT] = {
        [SCRIPT_RESERVE] = { "reserve", script_reserve },
        [SCRIPT_SEND] = { "send", script_send },
        [SCRIPT_RELEASE] = { "release", script_release },
        [SCRIPT_REPORT] = { "report", script_report },
        [SCRIPT_REGISTER] = { "register", script_register },
        [SCRIPT_HEARTBEAT] = { "heartbeat", script_heartbeat },
        [SCRIPT_DRAIN] = { "drain", script_drain },
        [SCRIPT_REAP] = { "reap", script_reap },
        [SCRIPT_SWEEP] = { "sweep", script_sweep },
        [SCRIPT_AGENT_STATUS] = { "agent_status", script_agent_status },
        [SCRIPT_ANNOUNCE] = { "announce", script_announce },
        [SCRIPT_CLEAR] = { "clear", script_clear },
};

const char *script_name(enum script script)
{
        return scripts[script].name;
}

char *script_text(enum script script)
{
        const char *text = scripts[script].text;
        int first = (int)(strchr(text, '\n') - text + 1);
        char *whole;

        if (asprintf(&whole, "%.*s%s%s", first, text, script_prelude, text + first) < 0)
                return NULL;
        return whole;
}
