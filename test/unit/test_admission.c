#include "common/log.h"
#include "master/control/admission.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char proc[64], log_path[80];
static struct config_admission config;
static struct admission admission;

static void put(const char *name, const char *text)
{
        char path[128];
        FILE *file;

        snprintf(path, sizeof path, "%s/%s", proc, name);
        file = fopen(path, "w");
        ck_assert_ptr_nonnull(file);
        fputs(text, file);
        fclose(file);
}

static void put_available(unsigned long kib)
{
        char text[256];

        snprintf(text, sizeof text, "MemTotal:        1048576 kB\nMemFree:           1000 kB\nMemAvailable:    %lu kB\n", kib);
        put("meminfo", text);
}

static void setup(void)
{
        char pressure[80];

        strcpy(proc, "/tmp/agentpool-test-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(proc));
        snprintf(pressure, sizeof pressure, "%s/pressure", proc);
        ck_assert_int_eq(mkdir(pressure, 0755), 0);
        snprintf(log_path, sizeof log_path, "%s/log", proc);
        ck_assert_int_eq(log_open(log_path, LOG_INFO, LOG_TEXT), 0);
        put_available(512 * 1024);
        put("pressure/memory", "some avg10=12.50 avg60=3.00 avg300=0.00 total=1\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=0\n");
        memset(&config, 0, sizeof config);
        admission_init(&admission, &config, proc);
}

static void teardown(void)
{
        char command[96];

        log_open(NULL, LOG_INFO, LOG_TEXT);
        snprintf(command, sizeof command, "rm -r %s", proc);
        ck_assert_int_eq(system(command), 0);
}

static const struct {
        int64_t bytes;
        double percent, pressure;
        const char *refusal; /* NULL: taken on */
} lines[] = {
        { 0, 0, 0, NULL },
        { 512 << 20, 50, 12.5, NULL },
        { (512 << 20) + 1, 0, 0, "available memory 512 MiB is under admission.min_available_memory_bytes 512 MiB" },
        { 1LL << 30, 99, 1, "available memory 512 MiB is under admission.min_available_memory_bytes 1024 MiB" },
        { 1, 50.1, 0, "available memory 50.0 % is under admission.min_available_memory_percent 50.1 %" },
        { 0, 0, 12.4, "memory pressure 12.50 % is over admission.max_memory_pressure 12.40 %" },
};

START_TEST(test_names_the_number_that_decided)
{
        const char *refusal;

        config = (struct config_admission){ lines[_i].bytes, lines[_i].percent, lines[_i].pressure };
        refusal = admission_refusal(&admission, 1000);
        ck_assert_int_eq(!refusal, !lines[_i].refusal);
        if (refusal)
                ck_assert_str_eq(refusal, lines[_i].refusal);
}
END_TEST

static unsigned count_in_log(const char *word)
{
        char line[512];
        unsigned count = 0;
        FILE *file = fopen(log_path, "r");

        while (fgets(line, sizeof line, file))
                count += strstr(line, word) != NULL;
        fclose(file);
        return count;
}

START_TEST(test_looks_now_and_then_and_logs_changes_only)
{
        config.min_available_memory_bytes = 600 << 20;
        ck_assert_ptr_nonnull(admission_refusal(&admission, 1000));
        put_available(700 * 1024);
        ck_assert_ptr_nonnull(admission_refusal(&admission, 1000 + ADMISSION_LOOK_MS - 1));
        ck_assert_ptr_null(admission_refusal(&admission, 1000 + ADMISSION_LOOK_MS));
        put_available(1);
        ck_assert_ptr_null(admission_refusal(&admission, 1000 + 2 * ADMISSION_LOOK_MS - 1));
        for (int i = 2; i < 20; i++)
                ck_assert_ptr_nonnull(admission_refusal(&admission, 1000 + i * ADMISSION_LOOK_MS));
        ck_assert_uint_eq(count_in_log("admission.closed"), 2);
        ck_assert_uint_eq(count_in_log("admission.open"), 1);
}
END_TEST

START_TEST(test_takes_all_on_when_it_cannot_look)
{
        config = (struct config_admission){ 1LL << 50, 100, 0.01 };
        put("meminfo", "");
        put("pressure/memory", "");
        ck_assert_ptr_null(admission_refusal(&admission, 1000));
        admission_init(&admission, &config, "/nowhere");
        ck_assert_ptr_null(admission_refusal(&admission, 1000));
}
END_TEST

static Suite *suite(void)
{
        Suite *all = suite_create("admission");
        TCase *c = tcase_create("admission");

        suite_add_tcase(all, c);
        tcase_add_checked_fixture(c, setup, teardown);
        tcase_add_loop_test(c, test_names_the_number_that_decided, 0, sizeof lines / sizeof *lines);
        tcase_add_test(c, test_looks_now_and_then_and_logs_changes_only);
        tcase_add_test(c, test_takes_all_on_when_it_cannot_look);
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
