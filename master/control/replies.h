/* What workers say of agents, however it came: to the rules, to who waits for its answer, to who listens to its events. */
#ifndef MASTER_CONTROL_REPLIES_H
#define MASTER_CONTROL_REPLIES_H
#include "master/control/context.h"
#include "registry/protocol/command.h"

void replies_take(struct master *master, const struct reply *reply);
/* The same as an envelope; one that is no reply is logged. */
void replies_take_text(struct master *master, const char *text, size_t len);
#endif
