#include "master/api/idempotency.h"

#include "common/clock.h"
#include "common/log.h"
#include "sql/store.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uthash.h>

#define KEY_MAX 255 /* bytes of an Idempotency-Key */

/* A request with a key, from its arrival to its answer. */
struct keyed {
        char name[32 + KEY_MAX + 2]; /* scope and key: at most one at a time */
        const char *scope, *key;     /* key points into name */
        char body_sha256[65];
        unsigned char digest[32];    /* of scope and key: where agent ids come from */
        struct http_request *request;
        struct master *master;
        void (*run)(struct http_request *request, void *arg);
        void (*drop)(void *arg);
        void *arg;
        UT_hash_handle hh;
};

static struct keyed *under_way; /* by name */

/* Without it two requests could be taken for one, or one for two: rather another master. */
static void digest_of(const char *data, size_t len, unsigned char digest[32])
{
        unsigned size = 32;

        if (EVP_Digest(data, len, digest, &size, EVP_sha256(), NULL))
                return;
        log_error("idempotency.out_of_memory", "detail=\"a new master takes over\"");
        _exit(EXIT_FAILURE);
}

static void keyed_free(struct keyed *keyed)
{
        HASH_DEL(under_way, keyed);
        free(keyed);
}

static void start(struct keyed *keyed)
{
        http_request_set_context(keyed->request, keyed);
        keyed->run(keyed->request, keyed->arg);
}

/* Answered here, without running. */
static void refuse(struct keyed *keyed, int status, const char *detail)
{
        struct http_request *request = keyed->request;

        keyed->drop(keyed->arg);
        keyed_free(keyed);
        if (status == 503)
                http_answer_retry_after(request, 1);
        http_answer_problem(request, status, "%s", detail);
}

static void on_known(void *arg, int error, const struct store_key *key)
{
        struct keyed *keyed = arg;
        struct http_request *request = keyed->request;

        if (error < 0) {
                refuse(keyed, 503, "the store is not available; nothing was done, try again with the same Idempotency-Key");
        } else if (strcmp(key->body_sha256, keyed->body_sha256) != 0) {
                refuse(keyed, 422, "this Idempotency-Key was used with another body; use a new key for a new request");
        } else if (!key->answer) {
                start(keyed); /* its first try was never answered */
        } else {
                keyed->drop(keyed->arg);
                keyed_free(keyed);
                http_answer(request, key->status, "application/json", key->answer, strlen(key->answer));
        }
}

static void on_inserted(void *arg, int error)
{
        struct keyed *keyed = arg;

        if (error == -EEXIST)
                error = store_key_get(keyed->master->store, keyed->scope, keyed->key, on_known, keyed);
        else if (error == 0)
                start(keyed);
        if (error < 0)
                on_known(keyed, error, NULL);
}

static void begin(struct keyed *keyed)
{
        int64_t now = clock_wall_ms();
        struct store_key row = { .scope = keyed->scope, .key = keyed->key, .body_sha256 = keyed->body_sha256,
                .created_at = now, .expires_at = now + keyed->master->config->idempotency_ttl_seconds * 1000 };
        int r = store_key_insert(keyed->master->store, &row, on_inserted, keyed);

        if (r < 0)
                on_known(keyed, r, NULL);
}

static struct keyed *keyed_new(struct http_request *request, const char *scope, const char *key)
{
        struct keyed *keyed = calloc(1, sizeof *keyed);
        unsigned char body_digest[32];
        const char *body;
        size_t len;

        if (!keyed)
                return NULL;
        snprintf(keyed->name, sizeof keyed->name, "%s %s", scope, key);
        keyed->scope = scope;
        keyed->key = keyed->name + strlen(scope) + 1;
        digest_of(keyed->name, strlen(keyed->name), keyed->digest);
        body = http_request_body(request, &len);
        digest_of(body, len, body_digest);
        for (unsigned i = 0; i < sizeof body_digest; i++)
                snprintf(keyed->body_sha256 + 2 * i, 3, "%02x", body_digest[i]);
        return keyed;
}

void idempotency_run(struct http_request *request, struct master *master, const char *scope,
        void (*run)(struct http_request *request, void *arg), void (*drop)(void *arg), void *arg)
{
        const char *key = http_request_header(request, "idempotency-key");
        struct keyed *keyed, *other;

        if (!key) {
                run(request, arg);
                return;
        }
        if (!*key || strlen(key) > KEY_MAX) {
                drop(arg);
                http_answer_problem(request, 400, "Idempotency-Key must be 1 to %d bytes long", KEY_MAX);
                return;
        }
        keyed = keyed_new(request, scope, key);
        if (!keyed) {
                drop(arg);
                http_answer_problem(request, 503, "out of memory; try again");
                return;
        }
        HASH_FIND_STR(under_way, keyed->name, other);
        if (other) {
                free(keyed);
                drop(arg);
                http_answer_retry_after(request, 1);
                http_answer_problem(request, 409, "a request with this Idempotency-Key is being worked on; try again");
                return;
        }
        keyed->request = request;
        keyed->master = master;
        keyed->run = run;
        keyed->drop = drop;
        keyed->arg = arg;
        HASH_ADD_STR(under_way, name, keyed);
        begin(keyed);
}

bool idempotency_agent_id(const struct http_request *request, size_t index, struct id *ret_id)
{
        const struct keyed *keyed = http_request_context(request);
        unsigned char digest[32], seed[40];
        uint64_t number = index;

        if (!keyed)
                return false;
        memcpy(seed, keyed->digest, 32);
        memcpy(seed + 32, &number, sizeof number);
        digest_of((const char *)seed, sizeof seed, digest);
        memcpy(ret_id->b, digest, sizeof ret_id->b);
        ret_id->b[6] = (uint8_t)((ret_id->b[6] & 0x0f) | 0x80); /* version 8: made by our own rule (RFC 9562) */
        ret_id->b[8] = (uint8_t)((ret_id->b[8] & 0x3f) | 0x80);
        return true;
}

void idempotency_answered(struct http_request *request, int status, const char *body)
{
        struct keyed *keyed = http_request_context(request);
        struct store_key row;

        if (!keyed)
                return;
        if (status < 300 && body) {
                row = (struct store_key){ .scope = keyed->scope, .key = keyed->key, .answer = body, .status = status };
                store_key_answer(keyed->master->store, &row, NULL, NULL);
        }
        http_request_set_context(request, NULL);
        keyed_free(keyed);
}
