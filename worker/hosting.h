/* What the roster asks for, carried out: agents started and ended, commands taken, acknowledgements sent. */
#ifndef WORKER_HOSTING_H
#define WORKER_HOSTING_H
#include "worker/context.h"

/* All of the roster's actions that wait now. */
void hosting_act(struct worker *worker);
/* A command envelope, from whatever it came by; one that is none is logged. */
void hosting_command_text(struct worker *worker, const char *text, size_t len);
void hosting_command(struct worker *worker, struct command *command);
/* The agent of what is hosted; NULL: it does not run (any more). */
const struct runtime_agent *hosting_agent(const struct hosted *hosted);
/* Ends all agents without grace, also those that are ending gracefully already. */
void hosting_kill(struct worker *worker);
/* What agents that are told to end have for their answers, from now on: also those that were told already. */
void hosting_drain(struct worker *worker, int64_t drain_ms);
/* Tells the registry which agents became busy or idle since it was last told. */
void hosting_tell_states(struct worker *worker);
/* Tells the master what there is to say of each agent, as REPLY_ACTIVITY. */
void hosting_tell_activity(struct worker *worker);
/* The registry has all that run here as idle. */
void hosting_forget_states(struct worker *worker);
#endif
