/* Who uses the Redis database: one daemon. Another one serves without Redis and says whose it is; at its first start it ends,
 * once it is certain that the other one lives. */
#include "common/clock.h"
#include "common/log.h"
#include "master/control/degraded.h"
#include "master/life/life.h"
#include "master/http/listen.h"
#include "master/control/pools.h"
#include "registry/redis/registry_redis.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define ANNOUNCE_TTL_MS 30000
#define LEASE_MS 15000
#define SOON_MS 300

static void use_registry(struct life *life)
{
        life->seen_at = 0;
        life->registry_was_ours = true;
        if (life->master.registry_up)
                return;
        life->master.registry_up = true;
        degraded_link_up(life->master.degraded);
}

static void on_soon(evutil_socket_t fd, short what, void *arg)
{
        (void)fd;
        (void)what;
        life_announce(arg);
}

/* It moves: the other one lives. What was begun already goes on without Redis. */
static void do_without(struct life *life, const struct registry_owner *owner)
{
        struct master *master = &life->master;
        const struct timeval soon = { .tv_usec = SOON_MS * 1000 };
        bool moved = life->seen_at && strcmp(life->seen_renewals, owner->renewals) != 0;
        char reason[256];

        snprintf(reason, sizeof reason, "Redis at %.80s belongs to the agentpoold on %s with pid %s and run_dir %s; give this one a "
                "database number of its own in redis.url", master->redis_url_masked, owner->host, owner->pid, owner->run_dir);
        if (!life->seen_at || moved) {
                life->seen_at = clock_mono_ms();
                snprintf(life->seen_renewals, sizeof life->seen_renewals, "%s", owner->renewals);
        }
        master->registry_up = false;
        degraded_link_down(master->degraded, reason);
        if (moved && life->first && !life->registry_was_ours && pools_empty(master->pools)) {
                log_error("registry.taken", "reason=%s", LOG_Q(reason));
                life_end(life, EX_CONFIG);
        } else if (!master->mode.decided) {
                event_base_once(master->base, -1, EV_TIMEOUT, on_soon, life, &soon);
        }
}

static void on_announced(void *arg, int error, const struct registry_owner *owner)
{
        struct life *life = arg;

        if (owner)
                do_without(life, owner);
        else if (error != -ECANCELED && error != -EAGAIN) /* what Redis refuses shows, and is told, when it is used */
                use_registry(life);
}

void life_announce(struct life *life)
{
        struct master *master = &life->master;
        char url[LISTEN_TEXT_SIZE + 8] = "http://", *address;
        bool dead = life->seen_at && clock_mono_ms() - life->seen_at >= LEASE_MS;
        struct registry_master self = { .host = master->host, .url = url, .version = AGENTPOOL_VERSION, .pid = getpid(),
                .run_dir = master->config->run_dir, .dead = dead ? life->seen_renewals : "" };

        if (life->listener_count > 0 && life_listens_tls(life, life->listeners[0], 0))
                memcpy(url, "https://", sizeof "https://");
        address = url + strlen(url);
        if (life->listener_count == 0 || listen_describe(life->listeners[0], address) < 0)
                self.url = ""; /* the forker hands the first one over */
        else if (strncmp(address, "unix:", 5) == 0)
                self.url = address;
        registry_announce(master->registry, &self, ANNOUNCE_TTL_MS, on_announced, life);
}
