/* What each event means for what a worker hosts. */
#define HASH_NONFATAL_OOM 1
#include "registry/core/roster.h"

#include <errno.h>
#include <stdlib.h>

/* What ended here lately must not start again under the same epoch: a command may come twice, or late, or from a
 * listing older than the end. */
#define TOMBSTONES 128

enum { TODO_START = 1, TODO_STOP = 2, TODO_REPORT = 4, TODO_FORGET = 8 };

struct tombstone {
        struct id agent_id;
        uint64_t epoch;
};
struct denial {
        struct roster_action action;
        STAILQ_ENTRY(denial) link;
};
struct roster {
        struct id master_id; /* whose spawns are heeded … */
        bool obeys;          /* … alone */
        unsigned max_agents, live; /* live: takes a slot's worth of work, all but ENDED */
        bool draining, fenced, exit_told;
        struct hosted *agents;
        struct hosted *forgotten;  /* shown as forgotten: freed at the next action */
        TAILQ_HEAD(, hosted) todo; /* by hosted.link */
        STAILQ_HEAD(, denial) denials;
        struct tombstone tombstones[TOMBSTONES];
        unsigned next_tombstone;
};

struct roster *roster_new(unsigned max_agents)
{
        struct roster *roster = calloc(1, sizeof *roster);

        if (!roster)
                return NULL;
        roster->max_agents = max_agents;
        TAILQ_INIT(&roster->todo);
        STAILQ_INIT(&roster->denials);
        return roster;
}

static void command_free(struct command *command)
{
        if (!command)
                return;
        command_done(command);
        free(command);
}

static void hosted_free(struct hosted *hosted)
{
        if (!hosted)
                return;
        command_free(hosted->spawn);
        command_free(hosted->next);
        free(hosted);
}

struct roster *roster_free(struct roster *roster)
{
        struct hosted *hosted, *next;
        struct denial *denial;

        if (!roster)
                return NULL;
        hosted_free(roster->forgotten);
        while ((denial = STAILQ_FIRST(&roster->denials))) {
                STAILQ_REMOVE_HEAD(&roster->denials, link);
                free(denial);
        }
        while ((hosted = TAILQ_FIRST(&roster->todo))) {
                TAILQ_REMOVE(&roster->todo, hosted, link);
                if (hosted->todo & TODO_FORGET) /* in no table any more */
                        hosted_free(hosted);
        }
        HASH_ITER(hh, roster->agents, hosted, next) {
                HASH_DEL(roster->agents, hosted);
                hosted_free(hosted);
        }
        free(roster);
        return NULL;
}

/* --- tombstones --------------------------------------------------------------------------------------------------- */

static struct tombstone *tombstone_find(struct roster *roster, const struct id *agent_id)
{
        for (unsigned i = 0; i < TOMBSTONES; i++)
                if (roster->tombstones[i].epoch && id_equal(&roster->tombstones[i].agent_id, agent_id))
                        return &roster->tombstones[i];
        return NULL;
}

static void tombstone_set(struct roster *roster, const struct id *agent_id, uint64_t epoch)
{
        struct tombstone *tombstone = tombstone_find(roster, agent_id);

        if (!tombstone) {
                tombstone = &roster->tombstones[roster->next_tombstone++ % TOMBSTONES];
                *tombstone = (struct tombstone){ .agent_id = *agent_id };
        }
        if (epoch > tombstone->epoch)
                tombstone->epoch = epoch;
}

/* --- actions ------------------------------------------------------------------------------------------------------ */

static void want(struct roster *roster, struct hosted *hosted, unsigned todo)
{
        if (!hosted->todo)
                TAILQ_INSERT_TAIL(&roster->todo, hosted, link);
        hosted->todo |= todo;
}

static void want_stop(struct roster *roster, struct hosted *hosted, bool graceful)
{
        hosted->graceful = graceful && (hosted->graceful || !(hosted->todo & TODO_STOP));
        hosted->state = HOSTED_STOPPING;
        want(roster, hosted, TODO_STOP);
}

static void want_report(struct roster *roster, struct hosted *hosted)
{
        if (hosted->reporting || hosted->fenced)
                return;
        hosted->reporting = true;
        want(roster, hosted, TODO_REPORT);
}

static void forget(struct roster *roster, struct hosted *hosted)
{
        tombstone_set(roster, &hosted->agent_id, hosted->epoch);
        HASH_DEL(roster->agents, hosted);
        want(roster, hosted, 0);
        hosted->todo = TODO_FORGET;
}

/* Not ours any more: ends at once, and nobody is told. */
static void fence(struct roster *roster, struct hosted *hosted)
{
        hosted->fenced = true;
        if (hosted->state != HOSTED_ENDED)
                want_stop(roster, hosted, false);
        else if (!hosted->next)
                forget(roster, hosted);
}

static int deny(struct roster *roster, const struct command *command, const char *detail)
{
        struct denial *denial = malloc(sizeof *denial);

        if (!denial)
                return -ENOMEM;
        denial->action = (struct roster_action){ .type = ROSTER_DENY, .agent_id = command->agent_id,
                .command_id = command->command_id, .epoch = command->epoch, .detail = detail };
        STAILQ_INSERT_TAIL(&roster->denials, denial, link);
        tombstone_set(roster, &command->agent_id, command->epoch);
        return 0;
}

static bool next_denial(struct roster *roster, struct roster_action *ret_action)
{
        struct denial *denial = STAILQ_FIRST(&roster->denials);

        if (!denial)
                return false;
        *ret_action = denial->action;
        STAILQ_REMOVE_HEAD(&roster->denials, link);
        free(denial);
        return true;
}

static enum roster_action_type next_todo(struct hosted *hosted)
{
        static const enum roster_action_type types[] = { ROSTER_START, ROSTER_STOP, ROSTER_REPORT, ROSTER_FORGET };

        for (unsigned i = 0; i < 3; i++) {
                if (hosted->todo & (1u << i)) {
                        hosted->todo &= ~(1u << i);
                        return types[i];
                }
        }
        hosted->todo = 0;
        return ROSTER_FORGET;
}

bool roster_next_action(struct roster *roster, struct roster_action *ret_action)
{
        struct hosted *hosted = TAILQ_FIRST(&roster->todo);

        hosted_free(roster->forgotten);
        roster->forgotten = NULL;
        if (hosted) {
                *ret_action = (struct roster_action){ .type = next_todo(hosted), .hosted = hosted,
                        .graceful = hosted->graceful };
                if (!hosted->todo)
                        TAILQ_REMOVE(&roster->todo, hosted, link);
                if (ret_action->type == ROSTER_REPORT)
                        hosted->telling_end = hosted->state == HOSTED_ENDED;
                if (ret_action->type == ROSTER_FORGET)
                        roster->forgotten = hosted;
                return true;
        }
        if (next_denial(roster, ret_action))
                return true;
        if (!roster->draining || roster->agents || roster->exit_told)
                return false;
        roster->exit_told = true;
        *ret_action = (struct roster_action){ .type = ROSTER_EXIT };
        return true;
}

/* --- commands ----------------------------------------------------------------------------------------------------- */

/* Moves the command out; NULL when out of memory. */
static struct command *keep(struct command *command)
{
        struct command *kept = malloc(sizeof *kept);

        if (!kept)
                return NULL;
        *kept = *command;
        *command = (struct command){ .type = kept->type };
        return kept;
}

static void begin(struct roster *roster, struct hosted *hosted, struct command *take_spawn)
{
        hosted->command_id = take_spawn->command_id;
        hosted->epoch = take_spawn->epoch;
        hosted->spawn = take_spawn;
        hosted->state = HOSTED_STARTING;
        roster->live++;
        want(roster, hosted, TODO_START);
}

static int host(struct roster *roster, struct command *command)
{
        struct hosted *hosted = calloc(1, sizeof *hosted);
        struct command *spawn;

        if (!hosted)
                return -ENOMEM;
        hosted->agent_id = command->agent_id;
        HASH_ADD(hh, roster->agents, agent_id, sizeof hosted->agent_id, hosted);
        if (!hosted->hh.tbl) {
                free(hosted);
                return -ENOMEM;
        }
        spawn = keep(command);
        if (!spawn) {
                HASH_DEL(roster->agents, hosted);
                free(hosted);
                return -ENOMEM;
        }
        begin(roster, hosted, spawn);
        return 0;
}

/* In the place of the one that ended, as if it had never been here. */
static void begin_next(struct roster *roster, struct hosted *hosted)
{
        struct command *spawn = hosted->next;

        command_free(hosted->spawn);
        hosted->next = NULL;
        hosted->reporting = hosted->reported = hosted->fenced = hosted->started = false;
        if (hosted->todo)
                TAILQ_REMOVE(&roster->todo, hosted, link);
        hosted->todo = 0;
        begin(roster, hosted, spawn);
}

/* A higher epoch: what runs under the old one ends unheard, then the new one starts. */
static int replace(struct roster *roster, struct hosted *hosted, struct command *command)
{
        struct command *spawn;

        if (hosted->next && hosted->next->epoch >= command->epoch)
                return 0;
        spawn = keep(command);
        if (!spawn)
                return -ENOMEM;
        command_free(hosted->next);
        hosted->next = spawn;
        fence(roster, hosted);
        if (hosted->state == HOSTED_ENDED)
                begin_next(roster, hosted);
        return 0;
}

static int take_spawn(struct roster *roster, struct command *command)
{
        struct hosted *hosted = roster_find(roster, &command->agent_id);
        const struct tombstone *tombstone = tombstone_find(roster, &command->agent_id);

        if (hosted && hosted->epoch == command->epoch) {
                if (hosted->state == HOSTED_RUNNING)
                        want_report(roster, hosted);
                return 0;
        }
        if (hosted && hosted->epoch > command->epoch)
                return 0;
        /* Also an older one: the registry may have placed it here late, and its slot is free once it hears so. */
        if (tombstone && tombstone->epoch >= command->epoch)
                return deny(roster, command, "it ended here already under this epoch");
        if (roster->obeys && !id_equal(&roster->master_id, &command->master_id))
                return deny(roster, command, "its master is gone, and the next has been told what runs here");
        if (roster->draining)
                return deny(roster, command, "the worker is draining");
        if (hosted)
                return replace(roster, hosted, command);
        if (roster->live >= roster->max_agents)
                return deny(roster, command, "the worker is full");
        return host(roster, command);
}

static int take_terminate(struct roster *roster, struct command *command)
{
        struct hosted *hosted = roster_find(roster, &command->agent_id);

        if (!hosted)
                return deny(roster, command, "it does not run here");
        if (hosted->epoch > command->epoch)
                return 0;
        if (hosted->epoch < command->epoch) { /* of a spawn that came never, or waits: answered when sent again */
                tombstone_set(roster, &command->agent_id, command->epoch);
                if (hosted->next && hosted->next->epoch <= command->epoch) {
                        command_free(hosted->next);
                        hosted->next = NULL;
                }
                fence(roster, hosted);
                return 0;
        }
        if (hosted->state == HOSTED_ENDED)
                want_report(roster, hosted);
        else if (hosted->state != HOSTED_STOPPING || !command->graceful)
                want_stop(roster, hosted, command->graceful);
        return 0;
}

int roster_command(struct roster *roster, struct command *command)
{
        switch (command->type) {
        case COMMAND_SPAWN:
                return take_spawn(roster, command);
        case COMMAND_TERMINATE:
                return take_terminate(roster, command);
        case COMMAND_DRAIN:
        case COMMAND_SHUTDOWN:
                roster_drain(roster, command->type == COMMAND_SHUTDOWN);
                return 0;
        case COMMAND_MESSAGE:
        case COMMAND_CANCEL:
        case COMMAND_TYPE_COUNT:
                break;
        }
        return 0;
}

/* --- what happens here -------------------------------------------------------------------------------------------- */

void roster_started(struct roster *roster, struct hosted *hosted)
{
        hosted->started = true;
        if (hosted->state != HOSTED_STARTING)
                return;
        hosted->state = HOSTED_RUNNING;
        want_report(roster, hosted);
}

void roster_ended(struct roster *roster, struct hosted *hosted, const struct agent_exit *exit)
{
        hosted->state = HOSTED_ENDED;
        hosted->exit = *exit;
        hosted->reported = false;
        roster->live--;
        if (hosted->next)
                begin_next(roster, hosted);
        else if (hosted->fenced)
                forget(roster, hosted);
        else
                want_report(roster, hosted);
}

void roster_reported(struct roster *roster, const struct id *agent_id, uint64_t epoch, int result)
{
        struct hosted *hosted = roster_find(roster, agent_id);

        if (!hosted || hosted->epoch != epoch)
                return;
        hosted->reporting = false;
        if (result == -ESTALE) {
                fence(roster, hosted);
        } else if (result == 0 && hosted->telling_end == (hosted->state == HOSTED_ENDED)) {
                hosted->reported = true;
                if (hosted->state == HOSTED_ENDED)
                        forget(roster, hosted);
        } else if (result == 0) { /* it ended meanwhile */
                want_report(roster, hosted);
        }
}

void roster_retry(struct roster *roster)
{
        struct hosted *hosted;

        for (hosted = roster->agents; hosted; hosted = hosted->hh.next)
                if (!hosted->reported && (hosted->state == HOSTED_RUNNING || hosted->state == HOSTED_ENDED))
                        want_report(roster, hosted);
}

void roster_listed(struct roster *roster, const struct id *agent_ids, const uint64_t *epochs, size_t count)
{
        struct hosted *hosted;

        for (size_t i = 0; i < count; i++) {
                hosted = roster_find(roster, &agent_ids[i]);
                if (hosted && hosted->epoch <= epochs[i])
                        hosted->listed = true;
        }
        for (hosted = roster->agents; hosted; hosted = hosted->hh.next) {
                if (!hosted->listed && hosted->reported && hosted->state == HOSTED_RUNNING)
                        want_stop(roster, hosted, false);
                hosted->listed = false;
        }
}

void roster_obey(struct roster *roster, const struct id *master_id)
{
        roster->master_id = *master_id;
        roster->obeys = true;
}

void roster_fence(struct roster *roster)
{
        struct hosted *hosted, *next;

        roster->draining = roster->fenced = true;
        HASH_ITER(hh, roster->agents, hosted, next) {
                command_free(hosted->next);
                hosted->next = NULL;
                fence(roster, hosted);
        }
}

void roster_drain(struct roster *roster, bool end_agents)
{
        struct hosted *hosted;

        roster->draining = true;
        for (hosted = end_agents ? roster->agents : NULL; hosted; hosted = hosted->hh.next) {
                command_free(hosted->next);
                hosted->next = NULL;
                if (hosted->state == HOSTED_STARTING || hosted->state == HOSTED_RUNNING)
                        want_stop(roster, hosted, true);
        }
}

void roster_undrain(struct roster *roster)
{
        roster->draining = roster->fenced || roster->exit_told;
}

/* --- looking ------------------------------------------------------------------------------------------------------ */

const struct command *roster_spawn(const struct hosted *hosted)
{
        if (hosted->next)
                return hosted->next;
        return hosted->state == HOSTED_ENDED || hosted->fenced ? NULL : hosted->spawn;
}

struct hosted *roster_find(const struct roster *roster, const struct id *agent_id)
{
        struct hosted *hosted;

        HASH_FIND(hh, roster->agents, agent_id, sizeof *agent_id, hosted);
        return hosted;
}

struct hosted *roster_first(const struct roster *roster)
{
        return roster->agents;
}

unsigned roster_count(const struct roster *roster)
{
        return HASH_COUNT(roster->agents);
}

bool roster_draining(const struct roster *roster)
{
        return roster->draining;
}
