/* For tests that break their database: a server of their own, the store on it. After store_fixture.h. */
#ifndef TEST_UNIT_STORE_BREAKABLE_H
#define TEST_UNIT_STORE_BREAKABLE_H
#include "test/unit/store_fixture.h"

static struct database db;
static struct store *store;
static struct server own, own_bouncer; /* of the tests that break them */

static inline void stop_own(void)
{
        server_stop(&own_bouncer);
        server_stop(&own);
}

static inline void open_own(enum backend backend, const struct store_options *options)
{
        postgres_new(&own, format("own%d", (int)getpid()));
        if (backend == PGBOUNCER)
                bouncer_new(&own_bouncer, &own, format("bouncer%d", (int)getpid()));
        database_on(&db, backend, &own, &own_bouncer);
        store = open_store(db.url, options);
}

static inline struct store_status status(void)
{
        struct store_status now;

        store_status(store, &now);
        return now;
}

static inline int insert_one(struct store_agent *agent)
{
        *agent = an_agent();
        return FINISH(store_agent_insert, store, agent);
}
#endif
