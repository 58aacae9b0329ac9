/* An agent out of its row in the store. */
#ifndef MASTER_CONTROL_STORED_AGENT_H
#define MASTER_CONTROL_STORED_AGENT_H
#include "registry/core/agent.h"
#include "sql/store_model.h"

/* The agent that a row describes, without a pool. NULL when out of memory, or it makes no sense. */
struct agent *stored_agent(const struct store_agent *row);
#endif
