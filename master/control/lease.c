/* Compares what was heard of each worker with its lease. */
#include "master/control/lease.h"

#include "common/clock.h"
#include "common/log.h"
#include "master/control/workers.h"

void lease_heard(struct pool_worker *worker, int64_t heartbeat_at)
{
        if (worker->heartbeat_at == heartbeat_at)
                return;
        worker->heartbeat_at = heartbeat_at;
        worker->heard_at = clock_mono_ms();
}

/* One that ran before this master, too, though it has not told this one yet what it runs. */
static bool is_expected(const struct pool_worker *worker)
{
        return worker->state == WORKER_READY || (worker->state == WORKER_STARTING && worker->adopted);
}

/* Both must lapse: a slow Redis alone, or a busy loop alone, is no death. While Redis is away nothing is heard there. */
static bool is_silent(const struct master *master, const struct pool_worker *worker, int64_t ms, int64_t now)
{
        return is_expected(worker) && now - worker->ready_at > ms && now - worker->heard_at > ms &&
               workers_silent_ms(master->workers, &worker->process_id) > ms;
}

static void listen_anew(struct master *master, int64_t now)
{
        workers_forgive(master->workers);
        for (size_t i = 0; i < pools_count(master->pools); i++)
                for (struct pool_worker *w = pool_first_worker(pools_at(master->pools, i)->rules); w; w = w->hh.next)
                        w->heard_at = now;
}

static void give_up(struct master *master, struct master_pool *pool, int64_t now)
{
        for (struct pool_worker *w = pool_first_worker(pool->rules); w; w = w->hh.next)
                if (is_silent(master, w, pool->config->worker_lease_ms, now))
                        pool_worker_suspect(pool->rules, &w->process_id, now);
        pools_wake(master->pools, pool);
}

void lease_check(struct master *master)
{
        int64_t now = clock_mono_ms(), longest = 0;
        unsigned workers = 0, late = 0, silent = 0;

        for (size_t i = 0; i < pools_count(master->pools); i++) {
                const struct master_pool *pool = pools_at(master->pools, i);
                int64_t lease = pool->config->worker_lease_ms;

                longest = lease > longest ? lease : longest;
                for (const struct pool_worker *w = pool_first_worker(pool->rules); w; w = w->hh.next) {
                        workers += is_expected(w);
                        late += is_silent(master, w, lease / 2, now);
                        silent += is_silent(master, w, lease, now);
                }
        }
        if (silent == 0)
                return;
        if (suspicion_of_self(&master->suspicion, late, workers, longest, now)) {
                log_error("master.suspects_itself", "silent=%u late=%u workers=%u detail=\"none is ended before another lease\"",
                        silent, late, workers);
                listen_anew(master, now);
                return;
        }
        for (size_t i = 0; i < pools_count(master->pools); i++)
                give_up(master, pools_at(master->pools, i), now);
}
