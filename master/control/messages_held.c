/* Messages that wait for their agent's start. */
#include "common/clock.h"
#include "master/control/messages.h"
#include "master/control/messages_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Its command once more, as it has to be now. NULL when out of memory. */
static char *renew(const struct message *message, const struct agent *agent)
{
        int64_t left = message->answer_by - clock_mono_ms();
        struct command command;
        char *text;

        if (command_decode(message->text, strlen(message->text), &command) < 0)
                return NULL;
        command.epoch = agent->epoch;
        command.timeout_ms = (left > 1 ? left : 1) + MESSAGES_FORGET_MS;
        text = command_encode(&command);
        command_done(&command);
        return text;
}

/* A notification is done with that. */
static void give(struct message *message, struct agent *agent)
{
        struct messages *messages = message->messages;
        struct message_target *target = message->target;
        char *text = renew(message, agent);
        int r;

        TAILQ_REMOVE(&target->held, message, link);
        TAILQ_INSERT_TAIL(&target->waiting, message, link);
        free(message->text);
        message->text = NULL;
        r = text ? messages_post(messages, agent, &message->command_id, text) : -ENOMEM;
        if (r < 0)
                message_finish(message, MESSAGE_FAILED, NULL, "its worker cannot be reached; try again");
        else if (!message->cb)
                message_free(message);
}

void messages_agent_changed(struct messages *messages, struct agent *agent)
{
        struct message_target *target = messages_target(messages, &agent->agent_id);
        char why[48];

        if (!target || TAILQ_EMPTY(&target->held))
                return;
        if (!agent_state_wanted(agent->state)) {
                snprintf(why, sizeof why, "the agent is %s", agent_state_name(agent->state));
                messages_agent_forgotten(messages, &agent->agent_id, why);
        }
        if (!agent_runs(agent) || !agent->worker)
                return;
        while ((target = messages_target(messages, &agent->agent_id)) && !TAILQ_EMPTY(&target->held))
                give(TAILQ_FIRST(&target->held), agent);
        target = messages_target(messages, &agent->agent_id);
        if (target)
                messages_count_changed(messages, target);
}

void messages_agent_forgotten(struct messages *messages, const struct id *agent_id, const char *why)
{
        struct message_target *target;

        while ((target = messages_target(messages, agent_id)) && !TAILQ_EMPTY(&target->held))
                message_finish(TAILQ_FIRST(&target->held), MESSAGE_REFUSED, NULL, why);
}
