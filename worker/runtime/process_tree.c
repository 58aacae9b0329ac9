/* Finds the processes below an agent's program, ends and reaps them. */
#define HASH_NONFATAL_OOM 1
#include "worker/runtime/process_tree.h"

#include "common/proc.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Processes seen below one agent that are kept in mind; more are found in turns. */
#define MARKS_MAX 4096

/* At a time: a tree that grows as fast as it is cut must not stop the worker. */
#define LOOKS_MAX 8

/* A pid alone may be used again. */
struct process_mark {
        pid_t pid;
        unsigned long long started; /* clock ticks after boot */
};

struct pid_list {
        pid_t *pids;
        size_t count, size;
};

static int pid_list_add(struct pid_list *list, pid_t pid)
{
        size_t size = list->size > 0 ? list->size * 2 : 64;
        pid_t *pids;

        if (list->count == list->size) {
                pids = reallocarray(list->pids, size, sizeof *pids);
                if (!pids)
                        return -ENOMEM;
                list->pids = pids;
                list->size = size;
        }
        list->pids[list->count++] = pid;
        return 0;
}

static FILE *open_proc(pid_t pid, const char *file)
{
        char path[320];

        snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
        return fopen(path, "re");
}

static int add_children_of_thread(pid_t pid, const char *thread, struct pid_list *list)
{
        char name[300];
        FILE *file;
        int child, r = 0;

        snprintf(name, sizeof name, "task/%s/children", thread);
        file = open_proc(pid, name);
        if (!file)
                return errno == ESRCH ? 0 : -errno; /* that thread has ended */
        while (r == 0 && fscanf(file, "%d", &child) == 1)
                r = pid_list_add(list, child);
        fclose(file);
        return r;
}

static int add_children(pid_t pid, struct pid_list *list)
{
        char path[64];
        DIR *threads;
        struct dirent *entry;
        int r = 0;

        snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
        threads = opendir(path);
        if (!threads)
                return -errno;
        while (r == 0 && (entry = readdir(threads)))
                if (entry->d_name[0] != '.')
                        r = add_children_of_thread(pid, entry->d_name, list);
        closedir(threads);
        return r;
}

static int read_agent_id(pid_t pid, struct id *ret_agent_id)
{
        static const char name[] = "AGENTPOOL_AGENT_ID=";
        FILE *file = open_proc(pid, "environ");
        char *variable = NULL;
        size_t size = 0;
        int r = -ENOENT;

        if (!file)
                return -ENOENT;
        while (r == -ENOENT && getdelim(&variable, &size, '\0', file) > 0)
                if (strncmp(variable, name, sizeof name - 1) == 0)
                        r = id_parse(variable + sizeof name - 1, ret_agent_id);
        free(variable);
        fclose(file);
        return r;
}

int process_tree_init(struct process_tree *tree, struct process_trees *trees, pid_t leader, const struct id *agent_id)
{
        *tree = (struct process_tree){ .leader = leader, .agent_id = *agent_id };
        HASH_ADD_INT(trees->by_leader, leader, tree);
        return tree->hh.tbl ? 0 : -ENOMEM;
}

void process_tree_done(struct process_tree *tree, struct process_trees *trees)
{
        HASH_DEL(trees->by_leader, tree);
        free(tree->marks);
        tree->marks = NULL;
        tree->mark_count = tree->mark_size = 0;
}

void process_tree_terminate(struct process_tree *tree, int signal)
{
        kill(-tree->leader, signal);
        kill(-tree->leader, SIGCONT);
}

static bool is_marked(const struct process_tree *tree, pid_t pid, unsigned long long started)
{
        for (size_t i = 0; i < tree->mark_count; i++)
                if (tree->marks[i].pid == pid && tree->marks[i].started == started)
                        return true;
        return false;
}

static void mark(struct process_tree *tree, pid_t pid)
{
        size_t size = tree->mark_size > 0 ? tree->mark_size * 2 : 16;
        struct process_mark *marks;
        struct proc_stat stat = { 0 };

        if (proc_stat(pid, &stat) < 0 || is_marked(tree, pid, stat.started) || tree->mark_count == MARKS_MAX)
                return;
        if (tree->mark_count == tree->mark_size) {
                marks = reallocarray(tree->marks, size, sizeof *marks);
                if (!marks)
                        return;
                tree->marks = marks;
                tree->mark_size = size;
        }
        tree->marks[tree->mark_count++] = (struct process_mark){ pid, stat.started };
}

/* Marks all that is below pid now: once its parent is dead, a process may have nothing left to know it by. */
static void mark_below(struct process_tree *tree, pid_t pid)
{
        struct pid_list list = { 0 };

        add_children(pid, &list);
        for (size_t i = 0; i < list.count && i < MARKS_MAX; i++) {
                mark(tree, list.pids[i]);
                add_children(list.pids[i], &list);
        }
        free(list.pids);
}

static bool leads_a_tree(const struct process_trees *trees, pid_t pid)
{
        const struct process_tree *tree;

        HASH_FIND_INT(trees->by_leader, &pid, tree);
        return tree;
}

/* *ret_owner is NULL when it cannot be told. */
static int find_owner(const struct process_trees *trees, pid_t pid, const struct process_tree **ret_owner)
{
        const struct process_tree *tree;
        struct proc_stat stat = { 0 };
        struct id agent_id;
        bool named;
        int r;

        *ret_owner = NULL;
        r = proc_stat(pid, &stat);
        if (r < 0) /* /proc may hide what runs as another user */
                return r == -ESRCH ? 0 : r;
        named = read_agent_id(pid, &agent_id) == 0;
        for (tree = trees->by_leader; tree; tree = tree->hh.next)
                if (tree->leader == stat.session || is_marked(tree, pid, stat.started) ||
                        (named && id_equal(&agent_id, &tree->agent_id)))
                        break;
        *ret_owner = tree;
        return 0;
}

/* What one look at our children found of a tree. */
struct look {
        int left, reaped, refused;
};

static void kill_child(struct process_tree *tree, pid_t pid, struct look *look)
{
        bool refused;

        mark(tree, pid); /* while it dies it has no environment any more to know it by */
        mark_below(tree, pid);
        refused = kill(pid, SIGKILL) < 0 && errno == EPERM;
        if (waitpid(pid, NULL, WNOHANG) != 0)
                look->reaped++;
        else if (refused)
                look->refused++;
        else
                look->left++;
}

static int kill_children(struct process_tree *tree, const struct process_trees *trees, struct look *look)
{
        bool last = HASH_COUNT(trees->by_leader) == 1;
        struct pid_list children = { 0 };
        const struct process_tree *owner;
        int r = add_children(getpid(), &children);

        for (size_t i = 0; i < children.count && r == 0; i++) {
                if (leads_a_tree(trees, children.pids[i]))
                        continue;
                r = find_owner(trees, children.pids[i], &owner);
                if (r == 0 && (owner == tree || (!owner && last)))
                        kill_child(tree, children.pids[i], look);
        }
        free(children.pids);
        return r;
}

int process_tree_kill(struct process_tree *tree, const struct process_trees *trees)
{
        struct look look = { .reaped = 1 };
        int r = 0;

        mark_below(tree, tree->leader);
        kill(-tree->leader, SIGKILL);
        /* What lost its parent while we looked has become our child after the list was read. */
        for (int i = 0; i < LOOKS_MAX && look.reaped > 0 && r == 0; i++) {
                look = (struct look){ 0 };
                r = kill_children(tree, trees, &look);
        }
        if (r < 0)
                return r;
        return look.left + look.reaped == 0 && look.refused > 0 ? -EPERM : look.left + look.reaped;
}

void process_usage_add(pid_t pid, struct usage *usage)
{
        struct proc_stat stat;

        if (proc_stat(pid, &stat) < 0)
                return;
        usage->processes += stat.state != 'Z';
        usage->cpu_ms += stat.cpu_ticks * 1000 / (unsigned long)sysconf(_SC_CLK_TCK);
        usage->rss_bytes += stat.rss_pages * (unsigned long)sysconf(_SC_PAGESIZE);
}

/* list: grows while it is walked. */
static void add_usage_below(struct pid_list *list, struct usage *usage)
{
        for (size_t i = 0; i < list->count; i++) {
                process_usage_add(list->pids[i], usage);
                add_children(list->pids[i], list);
        }
}

int process_tree_usage(const struct process_tree *tree, const struct process_trees *trees, struct usage *ret_usage)
{
        struct pid_list children = { 0 }, found = { 0 };
        const struct process_tree *owner;
        struct usage usage = { 0 };
        int r = pid_list_add(&found, tree->leader);

        r = r ? r : add_children(getpid(), &children);
        for (size_t i = 0; i < children.count && r == 0; i++)
                if (!leads_a_tree(trees, children.pids[i]) && find_owner(trees, children.pids[i], &owner) == 0 && owner == tree)
                        r = pid_list_add(&found, children.pids[i]);
        if (r == 0) {
                add_usage_below(&found, &usage);
                *ret_usage = usage;
        }
        free(children.pids);
        free(found.pids);
        return r;
}

int process_trees_reap(const struct process_trees *trees)
{
        struct pid_list children = { 0 };
        int r = add_children(getpid(), &children);

        for (size_t i = 0; i < children.count; i++)
                if (!leads_a_tree(trees, children.pids[i]))
                        waitpid(children.pids[i], NULL, WNOHANG);
        free(children.pids);
        return r;
}
