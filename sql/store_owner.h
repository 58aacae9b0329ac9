/* To which daemon the database belongs: one row of it says so, renewed five times in a lease. A later life of the same daemon
 * takes it over at once; another daemon once the row stood still for a lease by its own clock. There is no lock that a
 * session would hold: PgBouncer's transactions have none. In the store's thread, but init. */
#ifndef SQL_STORE_OWNER_H
#define SQL_STORE_OWNER_H
#include "sql/store_model.h"
#include "sql/store_backend.h"

struct store_owner {
        const struct store_daemon *daemon; /* NULL: nobody claims anything */
        struct id database_id;             /* known from run_dir, or from the first claim; zero: not yet */
        struct id life;                    /* this store's */
        int64_t lease_ms, renew_ms;
        int64_t renewed_at;                /* mono ms */
        bool held;
        bool locked;                       /* another session has the row locked; logged */
        bool lost;                         /* for good: to another daemon, or to a newer master of this one */
        bool taken;                        /* another daemon has it, and lives */
        /* Another's row, as it was seen first; seen_at 0: none is being watched. */
        int64_t seen_at, seen_renewals;
};

void store_owner_init(struct store_owner *owner, const struct store_daemon *daemon, int lease_ms);
/* After the tables were found: takes or renews the row. 0; -EBUSY: it is another's (lost, taken or still being watched); -EPROTO:
 * this is not the database that is known; else as of a backend. */
int store_owner_claim(struct store_owner *owner, struct store_backend *backend);
/* The row's next renewal. 0, -EBUSY with lost, else as of a backend. */
int store_owner_renew(struct store_owner *owner, struct store_backend *backend);
/* The connection went: what was watched may have moved unseen. */
void store_owner_look_away(struct store_owner *owner);
/* Another daemon need not wait. */
void store_owner_release(struct store_owner *owner, struct store_backend *backend);
#endif
