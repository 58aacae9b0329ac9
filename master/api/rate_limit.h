/* How often each token and each address may ask: a token bucket apiece, as one time. Pure: the caller says what time
 * it is. */
#ifndef MASTER_API_RATE_LIMIT_H
#define MASTER_API_RATE_LIMIT_H
#include <netinet/in.h>
#include <stdint.h>

#define RATE_LIMIT_ADDRESSES 4096 /* the longest unseen one is forgotten for the next */

struct rate_limit_rule {
        int64_t per_second; /* 0: no limit */
        int64_t burst;      /* so many at once after a pause, at least 1 */
};

/* Zero is a full bucket. */
struct rate_bucket {
        int64_t full_at; /* µs: when it would be full again */
};

/* 0 and one request taken out, or how many seconds (rounded up) until there is one. now in µs, monotonic. */
unsigned rate_bucket_take(struct rate_bucket *bucket, const struct rate_limit_rule *rule, int64_t now);

struct rate_limit;
struct rate_limit *rate_limit_new(const struct rate_limit_rule *rule, unsigned max_addresses); /* NULL: out of memory */
struct rate_limit *rate_limit_free(struct rate_limit *limit); /* NULL is fine; returns NULL */
/* As rate_bucket_take, for an address: of an IPv6 one the first 64 bits, which one client has to itself. */
unsigned rate_limit_take(struct rate_limit *limit, const struct in6_addr *address, int64_t now);
#endif
