/* Everything that runs below one agent's program, so that all of it can be ended. The worker must be a child subreaper
 * (PR_SET_CHILD_SUBREAPER): whatever loses its parent below it becomes its child. So only children of our own that we
 * have not reaped are ever signalled, and no signal can hit a stranger that got a used pid. What belongs to an agent is
 * known by its session (the program leads one), by AGENTPOOL_AGENT_ID in its environment, or because it was seen below
 * the program while that lived. What cannot be told apart is ended with the last agent. Source: proc(5), prctl(2). */
#ifndef WORKER_RUNTIME_PROCESS_TREE_H
#define WORKER_RUNTIME_PROCESS_TREE_H
#include "common/id.h"
#include "registry/protocol/usage.h"

#include <stddef.h>
#include <sys/types.h>
#include <uthash.h>

struct process_mark;

/* One agent's processes; embedded in its owner. */
struct process_tree {
        pid_t leader; /* the agent's program, also its session and group; not reaped before process_tree_done */
        struct id agent_id;
        struct process_mark *marks; /* owned: seen below the leader */
        size_t mark_count, mark_size;
        UT_hash_handle hh; /* by leader */
};
/* All of one worker; zeroed is empty. */
struct process_trees {
        struct process_tree *by_leader;
};

/* 0 or -ENOMEM. */
int process_tree_init(struct process_tree *tree, struct process_trees *trees, pid_t leader, const struct id *agent_id);
/* Forgets it; the leader may be reaped from now on. */
void process_tree_done(struct process_tree *tree, struct process_trees *trees);

/* Sends TERM (and CONT, for one that was stopped) to the leader's group. */
void process_tree_terminate(struct process_tree *tree, int signal);
/* Kills all that can be found now and reaps what is dead, except the leader. Returns how many others are left, dying
 * ones too (0: nothing but the leader; while that lives, what is below it is not counted); -EPERM: only some of another
 * user, which we cannot end; or another -errno when /proc could not be read (no descriptor left?): try again. */
int process_tree_kill(struct process_tree *tree, const struct process_trees *trees);
/* What all of it that can be found uses now. 0 or -errno as above. */
int process_tree_usage(const struct process_tree *tree, const struct process_trees *trees, struct usage *ret_usage);
/* Adds what pid uses, if it is there. */
void process_usage_add(pid_t pid, struct usage *usage);
/* Reaps the dead children of this process that lead no tree: what agents left behind. 0 or -errno as above. */
int process_trees_reap(const struct process_trees *trees);
#endif
