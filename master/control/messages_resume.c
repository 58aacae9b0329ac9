/* Messages that an earlier master sent, or was to send: what it left of them, and answers that come before they do. */
#include "common/clock.h"
#include "common/log.h"
#include "master/control/messages.h"
#include "master/control/messages_internal.h"
#include "master/control/pools.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void early_free(struct messages *messages, struct early *early)
{
        HASH_DEL(messages->early, early);
        free(early->reply.message);
        free(early->reply.detail);
        free(early);
}

void messages_settled(struct messages *messages)
{
        struct early *early, *next;

        messages->settled = true;
        HASH_ITER(hh, messages->early, early, next)
                early_free(messages, early);
}

void messages_keep_early(struct messages *messages, const struct reply *reply)
{
        struct early *early = HASH_COUNT(messages->early) < MESSAGES_MAX ? calloc(1, sizeof *early) : NULL;

        if (!early)
                return;
        early->reply = (struct reply){ .type = reply->type, .command_id = reply->command_id,
                .message = reply->message ? strdup(reply->message) : NULL,
                .detail = reply->detail ? strdup(reply->detail) : NULL };
        HASH_ADD(hh, messages->early, reply.command_id, sizeof early->reply.command_id, early);
}

#define NO_EPOCH UINT64_MAX /* its agent has ended: the next master may still hear the answer from before that */
#define NOTE_SIZE (ID_TEXT_SIZE + 4 * 21)

void messages_each(const struct messages *messages, void (*tell)(void *arg, const char *note))
{
        char note[NOTE_SIZE];
        uint64_t epoch;

        for (struct message *message = messages->by_command; message; message = message->hh.next) {
                if (!message->cb)
                        continue; /* a notification: its client has its answer */
                epoch = message->text ? 0 : message->ended ? NO_EPOCH : message->epoch;
                snprintf(note, sizeof note, "%s %llu %lld %lld %lld", ID_TEXT(&message->command_id),
                        (unsigned long long)epoch, (long long)message->answer_by, (long long)message->sent_wall,
                        (long long)message->sent_us);
                tell(message->arg, note);
        }
}

/* What a note says; the command's message is borrowed. 0 or -EPROTO. */
static int read_note(const char *note, struct command *command, struct message *ret_times)
{
        char id[ID_TEXT_SIZE];
        unsigned long long epoch;
        long long answer_by, sent_wall, sent_us;

        if (sscanf(note, "%36s %llu %lld %lld %lld", id, &epoch, &answer_by, &sent_wall, &sent_us) != 5 ||
                id_parse(id, &command->command_id) < 0)
                return -EPROTO;
        command->epoch = epoch;
        ret_times->answer_by = answer_by;
        ret_times->sent_wall = sent_wall;
        ret_times->sent_us = sent_us;
        return 0;
}

/* It waited for the agent's start: it was not sent. 0, or as messages_send. */
static int begin_again(struct messages *messages, struct agent *agent, const struct command *command, int64_t left, message_cb cb,
        void *arg, struct message **ret_message)
{
        char why[48];

        if (agent_runs(agent) || agent_comes(agent))
                return messages_send(messages, agent, command->message, command->client, left, cb, arg, ret_message);
        snprintf(why, sizeof why, "the agent is %s", agent_state_name(agent->state));
        cb(arg, MESSAGE_REFUSED, NULL, why);
        return 0;
}

int messages_resume(struct messages *messages, struct agent *agent, const char *note, char *text, char *client, message_cb cb,
        void *arg, struct message **ret_message)
{
        struct command command = { .message = text, .client = client };
        struct message times = { .answer_by = 0 }, *message;
        struct early *early;
        int64_t left;

        if (read_note(note, &command, &times) < 0)
                return -EPROTO;
        left = times.answer_by - clock_mono_ms();
        left = left > 0 ? left : 0;
        if (command.epoch == 0)
                return begin_again(messages, agent, &command, left, cb, arg, ret_message);
        message = messages_enlist(messages, agent, &command, left, cb, arg);
        if (!message)
                return -ENOMEM;
        message->answer_by = times.answer_by;
        message->sent_wall = times.sent_wall;
        message->sent_us = times.sent_us;
        HASH_FIND(hh, messages->early, &command.command_id, sizeof command.command_id, early);
        if (early) {
                messages_reply(messages, &early->reply);
                early_free(messages, early);
        } else {
                *ret_message = message;
                if (agent->epoch != command.epoch)
                        message_ended(message, MESSAGES_GRACE_TOLD_MS, MESSAGES_AGENT_ENDED);
        }
        return 0;
}

/* Its client has its answer, and does not ask again: the whole of it goes on. */
void messages_each_notification(const struct messages *messages, void (*tell)(void *arg, const char *data, size_t len), void *arg)
{
        char *data;
        int n;

        for (struct message *message = messages->by_command; message; message = message->hh.next) {
                if (message->cb)
                        continue;
                n = asprintf(&data, "%lld %s", (long long)message->answer_by, message->text);
                if (n < 0) {
                        log_error("handover.lost", "agent=%s detail=\"a notification; out of memory\"",
                                ID_TEXT(&message->target->agent_id));
                        continue;
                }
                tell(arg, data, (size_t)n);
                free(data);
        }
}

static void notify(struct messages *messages, const struct command *command, int64_t answer_by)
{
        struct agent *agent = pools_agent(messages->master->pools, &command->agent_id);
        int64_t left = answer_by - clock_mono_ms();
        struct message *ignored;
        int r = -ENOENT;

        if (agent && left > 0)
                r = messages_send(messages, agent, command->message, command->client, left, NULL, NULL, &ignored);
        if (r < 0)
                log_warn("message.not_delivered", "agent=%s detail=\"a notification that waited for its start\" error=%s",
                        ID_TEXT(&command->agent_id), left > 0 ? strerrorname_np(-r) : "ETIMEDOUT");
}

int messages_take_notification(struct messages *messages, const char *data, size_t len)
{
        const char *text = memchr(data, ' ', len);
        struct command command;

        if (!text || command_decode(text + 1, len - (size_t)(text + 1 - data), &command) < 0)
                return -EPROTO;
        if (command.type == COMMAND_MESSAGE)
                notify(messages, &command, strtoll(data, NULL, 10));
        command_done(&command);
        return 0;
}
