/* struct agent_exit (registry/protocol/command.h) as JSON: {"code", "signal", "reason"}; in envelopes, the store and the API. */
#ifndef REGISTRY_PROTOCOL_AGENT_EXIT_H
#define REGISTRY_PROTOCOL_AGENT_EXIT_H
#include "registry/protocol/command.h"

cJSON *agent_exit_print(const struct agent_exit *exit); /* NULL when out of memory */
char *agent_exit_encode(const struct agent_exit *exit); /* compact text, free(); NULL when out of memory */
/* 0 or -EINVAL. */
int agent_exit_read(const cJSON *tree, struct agent_exit *ret_exit);
int agent_exit_decode(const char *text, size_t len, struct agent_exit *ret_exit);
/* From a wait status, in words: "exit status 3", "killed by signal 9 (KILL)". */
struct agent_exit agent_exit_from_status(int status);
#endif
