#include "test/unit/cgroup_fixture.h"

#include "common/kernel_file.h"
#include "worker/runtime/agent_cgroup.h"
#include "worker/runtime/launch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char base[PATH_MAX];
static struct id agent_id;
static const struct pool_limits_config limits = { .memory_bytes = 67108864, .cpu_percent = 150, .processes = 20, .open_files = 64 };

static void setup(void)
{
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        strcpy(base, "/tmp/agentpool-test-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(base));
        agent_id = id_new();
}

static void teardown(void)
{
        char command[PATH_MAX + 16];

        snprintf(command, sizeof command, "rm -r %s", base);
        ck_assert_int_eq(system(command), 0);
}

static void write_new(const char *dir, const char *name, const char *text)
{
        char path[PATH_MAX];
        FILE *file;

        ck_assert_int_lt(snprintf(path, sizeof path, "%s/%s", dir, name), PATH_MAX);
        file = fopen(path, "w");
        ck_assert_ptr_nonnull(file);
        fputs(text, file);
        fclose(file);
}

/* A directory that looks like a cgroup in which these controllers are handed on, with one for agent_id below it. */
static void imitate(const char *controllers, char ret_below[PATH_MAX])
{
        static const char *const files[] = { "memory.max", "memory.oom.group", "cpu.max", "pids.max" };

        write_new(base, "cgroup.subtree_control", controllers);
        ck_assert_int_lt(snprintf(ret_below, PATH_MAX, "%s/%s-3", base, ID_TEXT(&agent_id)), PATH_MAX);
        ck_assert_int_eq(mkdir(ret_below, 0755), 0);
        for (size_t i = 0; i < sizeof files / sizeof *files; i++)
                write_new(ret_below, files[i], "untouched");
}

static void check_file(const char *dir, const char *file, const char *text)
{
        char found[64];

        ck_assert_int_eq(kernel_file_read(dir, file, found, sizeof found), 0);
        ck_assert_str_eq(found, text);
}

static const struct {
        const char *controllers, *memory, *group, *cpu, *pids;
        unsigned given;
} controllers[] = {
        { "cpu memory pids\n", "67108864", "1", "150000 100000", "20", CGROUP_MEMORY | CGROUP_CPU | CGROUP_PIDS },
        { "memory\n", "67108864", "1", "untouched", "untouched", CGROUP_MEMORY },
        { "cpuset pids", "untouched", "untouched", "untouched", "20", CGROUP_PIDS },
        { "\n", "untouched", "untouched", "untouched", "untouched", 0 },
};

START_TEST(test_limits_by_the_controllers_that_it_has)
{
        struct agent_cgroup cgroup;
        char below[PATH_MAX];

        imitate(controllers[_i].controllers, below);
        ck_assert_int_eq(agent_cgroup_init(&cgroup, base, &agent_id, 3, &limits), 0);
        ck_assert_uint_eq(cgroup.controllers, controllers[_i].given);
        check_file(below, "memory.max", controllers[_i].memory);
        check_file(below, "memory.oom.group", controllers[_i].group);
        check_file(below, "cpu.max", controllers[_i].cpu);
        check_file(below, "pids.max", controllers[_i].pids);
        agent_cgroup_done(&cgroup);
}
END_TEST

START_TEST(test_leaves_alone_what_is_not_limited)
{
        static const struct pool_limits_config none;
        struct agent_cgroup cgroup;
        char below[PATH_MAX];

        imitate("cpu memory pids", below);
        ck_assert_int_eq(agent_cgroup_init(&cgroup, base, &agent_id, 3, &none), 0);
        check_file(below, "memory.max", "untouched");
        check_file(below, "memory.oom.group", "untouched");
        check_file(below, "cpu.max", "untouched");
        check_file(below, "pids.max", "untouched");
        agent_cgroup_done(&cgroup);
}
END_TEST

START_TEST(test_leaves_nothing_when_a_limit_is_not_taken)
{
        struct agent_cgroup cgroup;

        write_new(base, "cgroup.subtree_control", "memory");
        ck_assert_int_eq(agent_cgroup_init(&cgroup, base, &agent_id, 3, &limits), -ENOENT); /* no memory.max */
        ck_assert_ptr_null(cgroup.path);
        ck_assert_int_eq(unlinkat(AT_FDCWD, strcat(base, "/cgroup.subtree_control"), 0), 0);
        *strrchr(base, '/') = '\0';
        ck_assert_int_eq(rmdir(base), 0); /* empty */
        ck_assert_int_eq(mkdir(base, 0755), 0);
}
END_TEST

START_TEST(test_tells_out_of_memory_by_the_count_of_kills)
{
        struct agent_cgroup cgroup;
        char below[PATH_MAX];

        imitate("memory", below);
        ck_assert_int_eq(agent_cgroup_init(&cgroup, base, &agent_id, 3, &limits), 0);
        ck_assert(!agent_cgroup_out_of_memory(&cgroup));
        write_new(below, "memory.events", "low 0\nhigh 0\nmax 7\noom 1\noom_kill 0\noom_group_kill 0\n");
        ck_assert(!agent_cgroup_out_of_memory(&cgroup));
        write_new(below, "memory.events", "low 0\nhigh 0\nmax 7\noom 1\noom_kill 2\noom_group_kill 1\n");
        ck_assert(agent_cgroup_out_of_memory(&cgroup));
        agent_cgroup_done(&cgroup);
}
END_TEST

/* A shell in cgroup; -errno when it cannot be started. */
static int start(const struct agent_cgroup *cgroup, const char *script)
{
        struct launch launch = { .cgroup = agent_cgroup_enter(cgroup) };
        int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC), pidfd = -1, r;
        char reason[256];
        pid_t pid;

        ck_assert_int_gt(launch.cgroup, 0);
        launch.fds[0] = launch.fds[1] = launch.fds[2] = null_fd;
        launch_argument(&launch, "/bin/sh", NULL);
        launch_argument(&launch, "-c", NULL);
        launch_argument(&launch, script, NULL);
        r = launch_run(&launch, &pid, &pidfd, reason, sizeof reason);
        ck_assert_msg(r == 0, "%s", reason);
        launch_done(&launch);
        close(launch.cgroup);
        close(null_fd);
        if (pidfd >= 0)
                close(pidfd);
        return pid;
}

static int count_processes(const char *path)
{
        char text[4096];
        int count = 0;

        ck_assert_int_eq(kernel_file_read(path, "cgroup.procs", text, sizeof text), 0);
        for (const char *p = text; (p = strchr(p, '\n')); p++)
                count++;
        return count;
}

START_TEST(test_ends_all_that_is_in_it_and_removes_it)
{
        struct agent_cgroup cgroup;
        char root[PATH_MAX], below[PATH_MAX], *parent;
        struct id process_id = id_new();
        pid_t pid;

        if (!cgroup_fixture_make(root))
                return;
        parent = agent_cgroup_parent(root, &process_id);
        ck_assert_ptr_nonnull(parent);
        ck_assert_int_eq(agent_cgroup_init(&cgroup, parent, &agent_id, 1, &limits), 0);
        /* What left its session and its parent, and has no environment to be known by. */
        pid = start(&cgroup, "for i in 1 2 3; do env -i setsid /bin/sh -c '(sleep 1000 &)'; done; exec sleep 1000");
        while (count_processes(cgroup.path) < 4)
                poll(NULL, 0, 1);
        snprintf(below, sizeof below, "%.4000s/its-own", cgroup.path);
        ck_assert_int_eq(mkdir(below, 0755), 0);
        while (agent_cgroup_end(&cgroup) == -EBUSY)
                while (waitpid(-1, NULL, WNOHANG) > 0)
                        ;
        ck_assert_ptr_null(cgroup.path);
        while (waitpid(-1, NULL, 0) > 0)
                ;
        ck_assert_int_eq(kill(pid, 0), -1);
        free(parent);
        cgroup_fixture_remove(root);
}
END_TEST

START_TEST(test_is_nothing_when_there_is_no_cgroup)
{
        struct agent_cgroup cgroup;

        ck_assert_int_eq(agent_cgroup_init(&cgroup, NULL, &agent_id, 1, &limits), 0);
        ck_assert_int_eq(agent_cgroup_enter(&cgroup), 0);
        ck_assert(!agent_cgroup_out_of_memory(&cgroup));
        ck_assert_int_eq(agent_cgroup_end(&cgroup), 0);
        agent_cgroup_done(&cgroup);
        ck_assert_ptr_null(agent_cgroup_parent("/nowhere", &agent_id));
}
END_TEST

static Suite *suite(void)
{
        Suite *all = suite_create("agent_cgroup");
        TCase *c = tcase_create("agent_cgroup");

        suite_add_tcase(all, c);
        tcase_add_checked_fixture(c, setup, teardown);
        tcase_set_timeout(c, 120);
        tcase_add_loop_test(c, test_limits_by_the_controllers_that_it_has, 0, sizeof controllers / sizeof *controllers);
        tcase_add_test(c, test_leaves_alone_what_is_not_limited);
        tcase_add_test(c, test_leaves_nothing_when_a_limit_is_not_taken);
        tcase_add_test(c, test_tells_out_of_memory_by_the_count_of_kills);
        tcase_add_test(c, test_ends_all_that_is_in_it_and_removes_it);
        tcase_add_test(c, test_is_nothing_when_there_is_no_cgroup);
        return all;
}

int main(void)
{
        SRunner *runner = srunner_create(suite());
        int failed;

        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed != 0;
}
