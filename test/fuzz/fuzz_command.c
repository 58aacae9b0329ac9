/* Any bytes as a command and as a reply: refused, or encoded and decoded again to the same. */
#include "registry/protocol/command.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_command(const char *text, size_t len)
{
        struct command command;
        char *first, *second;

        if (command_decode(text, len, &command) < 0)
                return;
        first = command_encode(&command);
        command_done(&command);
        if (!first || command_decode(first, strlen(first), &command) < 0)
                abort();
        second = command_encode(&command);
        if (!second || strcmp(first, second) != 0)
                abort();
        command_done(&command);
        free(first);
        free(second);
}

static void try_reply(const char *text, size_t len)
{
        struct reply reply;
        char *first, *second;

        if (reply_decode(text, len, &reply) < 0)
                return;
        first = reply_encode(&reply);
        reply_done(&reply);
        if (!first || reply_decode(first, strlen(first), &reply) < 0)
                abort();
        second = reply_encode(&reply);
        if (!second || strcmp(first, second) != 0)
                abort();
        reply_done(&reply);
        free(first);
        free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        try_command((const char *)data, size);
        try_reply((const char *)data, size);
        return 0;
}
