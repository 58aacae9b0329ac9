#include "master/api/rate_limit.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <uthash.h>

#define SECOND 1000000

struct address {
        struct in6_addr key;
        struct rate_bucket bucket;
        TAILQ_ENTRY(address) link;
        UT_hash_handle hh;
};

struct rate_limit {
        struct rate_limit_rule rule;
        unsigned max;
        struct address *addresses;
        TAILQ_HEAD(address_list, address) seen; /* the latest first */
};

unsigned rate_bucket_take(struct rate_bucket *bucket, const struct rate_limit_rule *rule, int64_t now)
{
        int64_t each, early, full_at = bucket->full_at > now ? bucket->full_at : now;

        if (rule->per_second <= 0)
                return 0;
        each = SECOND / rule->per_second;
        early = full_at + each - (now + rule->burst * each);
        if (early > 0)
                return (unsigned)((early + SECOND - 1) / SECOND);
        bucket->full_at = full_at + each;
        return 0;
}

struct rate_limit *rate_limit_new(const struct rate_limit_rule *rule, unsigned max_addresses)
{
        struct rate_limit *limit = calloc(1, sizeof *limit);

        if (!limit)
                return NULL;
        limit->rule = *rule;
        limit->max = max_addresses;
        TAILQ_INIT(&limit->seen);
        return limit;
}

static void forget(struct rate_limit *limit, struct address *address)
{
        TAILQ_REMOVE(&limit->seen, address, link);
        HASH_DEL(limit->addresses, address);
        free(address);
}

struct rate_limit *rate_limit_free(struct rate_limit *limit)
{
        struct address *at;

        if (!limit)
                return NULL;
        while ((at = TAILQ_FIRST(&limit->seen)))
                forget(limit, at);
        free(limit);
        return NULL;
}

static struct address *address_new(struct rate_limit *limit, const struct in6_addr *key)
{
        struct address *address;

        if (HASH_COUNT(limit->addresses) >= limit->max)
                forget(limit, TAILQ_LAST(&limit->seen, address_list));
        address = calloc(1, sizeof *address);
        if (!address)
                return NULL;
        address->key = *key;
        HASH_ADD(hh, limit->addresses, key, sizeof *key, address);
        TAILQ_INSERT_HEAD(&limit->seen, address, link);
        return address;
}

unsigned rate_limit_take(struct rate_limit *limit, const struct in6_addr *address, int64_t now)
{
        struct in6_addr key = *address;
        struct address *at;

        if (limit->rule.per_second <= 0)
                return 0;
        if (!IN6_IS_ADDR_V4MAPPED(&key))
                memset(&key.s6_addr[8], 0, 8);
        HASH_FIND(hh, limit->addresses, &key, sizeof key, at);
        if (at) {
                TAILQ_REMOVE(&limit->seen, at, link);
                TAILQ_INSERT_HEAD(&limit->seen, at, link);
        } else {
                at = address_new(limit, &key);
        }
        return at ? rate_bucket_take(&at->bucket, &limit->rule, now) : 1;
}
