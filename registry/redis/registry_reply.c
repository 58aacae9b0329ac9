#include "registry/redis/registry_reply.h"

#include "common/json/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Scripts answer with bulk strings, and with statuses where Lua returns { ok = … }. */
static bool is_text(const redisReply *reply)
{
        return (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS)
                && strlen(reply->str) == (size_t)reply->len;
}

int registry_reply_code(const redisReply *reply)
{
        static const struct {
                const char *word;
                int code;
        } codes[] = { { "OK", 0 }, { "ENOENT", -ENOENT }, { "ESTALE", -ESTALE }, { "ENOSPC", -ENOSPC } };

        if (!is_text(reply))
                return -EPROTO;
        for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
                if (strcmp(reply->str, codes[i].word) == 0)
                        return codes[i].code;
        return -EPROTO;
}

int registry_reply_owner(const redisReply *reply, struct registry_owner *ret_owner)
{
        const char **const texts[] = { &ret_owner->host, &ret_owner->pid, &ret_owner->run_dir, &ret_owner->renewals };

        if (reply->type != REDIS_REPLY_ARRAY || reply->elements != sizeof texts / sizeof *texts)
                return -EPROTO;
        for (size_t i = 0; i < reply->elements; i++) {
                if (!is_text(reply->element[i]))
                        return -EPROTO;
                *texts[i] = reply->element[i]->str;
        }
        return 0;
}

static int read_id(const redisReply *reply, struct id *ret_id)
{
        return is_text(reply) && id_parse(reply->str, ret_id) == 0 ? 0 : -EPROTO;
}

/* Whole numbers come as integers or as text, never negative, exact in Lua's doubles. */
static int read_number(const redisReply *reply, uint64_t *ret_value)
{
        unsigned long long value;
        char *end;

        if (reply->type == REDIS_REPLY_INTEGER) {
                if (reply->integer < 0 || reply->integer > JSON_INTEGER_MAX)
                        return -EPROTO;
                *ret_value = (uint64_t)reply->integer;
                return 0;
        }
        if (!is_text(reply) || reply->str[0] < '0' || reply->str[0] > '9')
                return -EPROTO;
        errno = 0;
        value = strtoull(reply->str, &end, 10);
        if (*end || errno || value > (unsigned long long)JSON_INTEGER_MAX)
                return -EPROTO;
        *ret_value = value;
        return 0;
}

/* A batch's answer: one element per item, or one word about the whole. */
static int check_batch(const redisReply *reply, size_t count)
{
        int code;

        if (reply->type == REDIS_REPLY_ARRAY)
                return reply->elements == count ? 0 : -EPROTO;
        code = registry_reply_code(reply);
        return code ? code : -EPROTO;
}

int registry_reply_placed(const redisReply *reply, struct registry_placed *placed, size_t count)
{
        int r = check_batch(reply, count);

        for (size_t i = 0; r == 0 && i < count; i++) {
                int result = registry_reply_code(reply->element[i]);

                if (read_id(reply->element[i], &placed[i].process_id) == 0)
                        result = 0;
                else if (result == 0 || result == -EPROTO)
                        r = -EPROTO;
                placed[i].result = result;
        }
        return r;
}

int registry_reply_reported(const redisReply *reply, struct registry_reported *reported, size_t count)
{
        int r = check_batch(reply, count);

        for (size_t i = 0; r == 0 && i < count; i++) {
                reported[i].result = registry_reply_code(reply->element[i]);
                if (reported[i].result == -EPROTO)
                        r = -EPROTO;
        }
        return r;
}

static int read_listed(redisReply *const *element, struct registry_listed_agent *ret_agent)
{
        if (read_id(element[0], &ret_agent->agent_id) < 0 || read_number(element[1], &ret_agent->epoch) < 0
                || element[2]->type != REDIS_REPLY_STRING)
                return -EPROTO;
        ret_agent->command_len = (size_t)element[2]->len;
        ret_agent->command = element[2]->len ? element[2]->str : NULL;
        return 0;
}

int registry_reply_listing(const redisReply *reply, struct registry_listing *ret_listing,
        struct registry_listed_agent **ret_agents)
{
        struct registry_listing listing = { 0 };
        struct registry_listed_agent *agents;
        int code;

        *ret_agents = NULL;
        if (reply->type != REDIS_REPLY_ARRAY) {
                code = registry_reply_code(reply);
                return code ? code : -EPROTO;
        }
        /* Unchanged is { revision }; else { revision, "changed", agents }, which may be none. */
        if (reply->elements < 1 || read_number(reply->element[0], &listing.revision) < 0)
                return -EPROTO;
        listing.changed = reply->elements > 1;
        if (reply->elements > 1 && (reply->elements - 2) % 3 != 0)
                return -EPROTO;
        listing.count = reply->elements > 1 ? (reply->elements - 2) / 3 : 0;
        agents = calloc(listing.count + 1, sizeof *agents);
        if (!agents)
                return -ENOMEM;
        for (size_t i = 0; i < listing.count; i++)
                if (read_listed(reply->element + 2 + 3 * i, &agents[i]) < 0) {
                        free(agents);
                        return -EPROTO;
                }
        listing.agents = agents;
        *ret_listing = listing;
        *ret_agents = agents;
        return 0;
}

/* ended has room for what follows the row's numbers. */
static int read_swept(const redisReply *row, const char **ended, struct registry_swept *ret_swept)
{
        uint64_t age, agent_count, heartbeat_at;

        if (row->type != REDIS_REPLY_ARRAY || row->elements < 7 || read_id(row->element[0], &ret_swept->process_id) < 0
                || read_id(row->element[1], &ret_swept->master_id) < 0 || read_number(row->element[2], &age) < 0
                || read_number(row->element[3], &agent_count) < 0
                || read_number(row->element[4], &ret_swept->rss_bytes) < 0
                || read_number(row->element[5], &ret_swept->cpu_ms) < 0
                || read_number(row->element[6], &heartbeat_at) < 0)
                return -EPROTO;
        ret_swept->heartbeat_age_ms = (int64_t)age;
        ret_swept->heartbeat_at = (int64_t)heartbeat_at;
        ret_swept->agent_count = (unsigned)agent_count;
        ret_swept->ended = ended;
        for (size_t i = 7; i < row->elements; i++) {
                if (!is_text(row->element[i]))
                        return -EPROTO;
                ended[ret_swept->ended_count++] = row->element[i]->str;
        }
        return 0;
}

int registry_reply_swept(const redisReply *reply, struct registry_swept **ret_swept, size_t *ret_count)
{
        struct registry_swept *swept;
        size_t texts = 0;
        const char **ended;
        int r = 0;

        if (reply->type != REDIS_REPLY_ARRAY)
                return -EPROTO;
        for (size_t i = 0; i < reply->elements; i++)
                texts += reply->element[i]->type == REDIS_REPLY_ARRAY ? reply->element[i]->elements : 0;
        swept = calloc(1, (reply->elements + 1) * sizeof *swept + texts * sizeof *ended);
        if (!swept)
                return -ENOMEM;
        ended = (const char **)(void *)(swept + reply->elements + 1);
        for (size_t i = 0; r == 0 && i < reply->elements; i++) {
                r = read_swept(reply->element[i], ended, &swept[i]);
                ended += swept[i].ended_count;
        }
        if (r < 0) {
                free(swept);
                return r;
        }
        *ret_swept = swept;
        *ret_count = reply->elements;
        return 0;
}

int registry_reply_policy(const redisReply *reply, char *ret_policy, size_t size)
{
        static const char name[] = "\nmaxmemory_policy:";
        const char *policy;

        if (reply->type != REDIS_REPLY_STRING)
                return -EPROTO;
        policy = strstr(reply->str, name);
        if (!policy)
                return -EPROTO;
        policy += sizeof name - 1;
        snprintf(ret_policy, size, "%.*s", (int)strcspn(policy, "\r\n"), policy);
        /* volatile-* takes only keys with a TTL: master:<id>, written again and again, and tombstones. */
        return strncmp(ret_policy, "noeviction", 10) == 0 || strncmp(ret_policy, "volatile-", 9) == 0 ? 0 : -EPERM;
}
