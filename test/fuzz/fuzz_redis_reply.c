/* Whatever a server answers: the reader, the errors, and every reading of an answer. */
#include "registry/redis/registry_reply.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_batch(const redisReply *reply)
{
        size_t count = reply->type == REDIS_REPLY_ARRAY ? reply->elements : 1;
        struct registry_reported *reported = calloc(count + 1, sizeof *reported);
        struct registry_placed *placed = calloc(count + 1, sizeof *placed);

        assert(placed && reported);
        if (registry_reply_placed(reply, placed, count) == 0)
                for (size_t i = 0; i < count; i++)
                        assert(placed[i].result == 0 || placed[i].result == -ENOSPC || placed[i].result == -ESTALE
                                || placed[i].result == -ENOENT);
        if (registry_reply_reported(reply, reported, count) == 0)
                for (size_t i = 0; i < count; i++)
                        assert(reported[i].result <= 0 && reported[i].result != -EPROTO);
        assert(registry_reply_placed(reply, placed, count + 1) < 0);
        free(placed);
        free(reported);
}

static void read_as_everything(const redisReply *reply)
{
        struct registry_listed_agent *agents;
        struct registry_listing listing;
        struct registry_swept *swept;
        char policy[32];
        size_t count;

        assert(redis_reply_error(reply) <= 0);
        assert(!redis_reply_fatal(reply) || redis_reply_error(reply));
        registry_reply_code(reply);
        registry_reply_policy(reply, policy, sizeof policy);
        read_batch(reply);
        if (registry_reply_listing(reply, &listing, &agents) == 0) {
                assert(listing.count <= reply->elements);
                for (size_t i = 0; i < listing.count; i++)
                        assert(!agents[i].command || agents[i].command[agents[i].command_len] == '\0');
        }
        free(agents);
        if (registry_reply_swept(reply, &swept, &count) == 0) {
                for (size_t i = 0; i < count; i++)
                        for (size_t k = 0; k < swept[i].ended_count; k++)
                                assert(swept[i].ended[k]);
                free(swept);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        redisReader *reader = redis_reader_new();
        size_t first = size / 3; /* answers come in pieces */
        void *reply;

        assert(reader);
        for (int piece = 0; piece < 2; piece++) {
                redisReaderFeed(reader, (const char *)data + (piece ? first : 0), piece ? size - first : first);
                while (redisReaderGetReply(reader, &reply) == REDIS_OK && reply) {
                        read_as_everything(reply);
                        freeReplyObject(reply);
                }
        }
        redisReaderFree(reader);
        return 0;
}
