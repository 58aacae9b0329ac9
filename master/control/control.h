/* The master's loop: every event of the forker, of a worker, of the registry's mode and of the clock, fed into the rules of its
 * pool, and what the rules then ask for carried out once, at the end of the loop's turn. */
#ifndef MASTER_CONTROL_CONTROL_H
#define MASTER_CONTROL_CONTROL_H
#include "master/control/context.h"

/* Makes master->pools, master->workers and master->degraded, which the caller frees, and begins. NULL when out of memory. */
struct control_loop *control_new(struct master *master);
struct control_loop *control_free(struct control_loop *loop); /* after those; NULL is fine */
/* No new work; ends every worker; on_closed once none is left. */
void control_close(struct control_loop *loop, void (*on_closed)(void *arg), void *arg);
/* The workers that are ending end without grace. */
void control_hurry(struct control_loop *loop);

/* From the forker. */
void control_worker_forked(struct control_loop *loop, const struct id *process_id, const char *pool_name, int pid,
        int64_t started_at, bool adopted, int take_socket);
void control_worker_fork_failed(struct control_loop *loop, const struct id *process_id, int error);
void control_worker_exited(struct control_loop *loop, const struct id *process_id, int status);
/* Every worker from before this master was handed over: what the registry knows besides is left behind, what the store
 * wants besides is placed. */
void control_synced(struct control_loop *loop);
#endif
