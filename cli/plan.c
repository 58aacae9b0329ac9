/* plan: how many workers a load needs. Little's law for the mean, twice the mean as peak, 30 % headroom. */
#include "cli/commands.h"
#include "common/json.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define PEAK 2.0
#define HEADROOM 1.3

struct plan {
        double tasks_per_hour, duration_s; /* what comes, and how long one takes on average */
        double concurrency;                /* tasks (agents) that a worker holds */
        double efficiency;                 /* share of its time that a worker can use, 0 to 1 */
};

/* A positive number. */
static bool read_number(const char *text, double *ret_value)
{
        char *end;
        double value = strtod(text, &end);

        if (end == text || *end || !isfinite(value) || value <= 0)
                return false;
        *ret_value = value;
        return true;
}

static bool read_plan(int argc, char **argv, struct plan *plan)
{
        static const struct option options[] = { { "tasks-per-hour", required_argument, NULL, 't' },
                { "duration", required_argument, NULL, 'd' }, { "concurrency", required_argument, NULL, 'c' },
                { "efficiency", required_argument, NULL, 'e' }, { 0 } };
        int option;
        bool ok = true;

        optind = 0;
        while (ok && (option = getopt_long(argc, argv, "t:d:c:e:", options, NULL)) != -1) {
                if (option == 't')
                        ok = read_number(optarg, &plan->tasks_per_hour);
                else if (option == 'd')
                        ok = read_number(optarg, &plan->duration_s);
                else if (option == 'c')
                        ok = read_number(optarg, &plan->concurrency);
                else
                        ok = option == 'e' && read_number(optarg, &plan->efficiency);
        }
        return ok && optind == argc && plan->tasks_per_hour > 0 && plan->duration_s > 0 && plan->efficiency <= 1 &&
               isfinite(plan->tasks_per_hour * plan->duration_s / plan->concurrency / plan->efficiency * PEAK * HEADROOM);
}

int cli_plan(struct cli *cli, int argc, char **argv)
{
        struct plan plan = { .concurrency = 10, .efficiency = 0.8 };
        double mean, peak, workers, most;
        cJSON *tree;

        if (!read_plan(argc, argv, &plan))
                return cli_usage(cli_find("plan"));
        mean = plan.tasks_per_hour / 3600 * plan.duration_s;
        peak = mean * PEAK;
        workers = ceil(mean * HEADROOM / (plan.concurrency * plan.efficiency));
        most = ceil(peak * HEADROOM / (plan.concurrency * plan.efficiency));
        tree = cJSON_CreateObject();
        cJSON_AddNumberToObject(tree, "mean_concurrency", mean);
        cJSON_AddNumberToObject(tree, "peak_concurrency", peak);
        cJSON_AddNumberToObject(tree, "min_workers", workers);
        cJSON_AddNumberToObject(tree, "max_workers", most);
        cJSON_AddNumberToObject(tree, "max_agents_per_worker", plan.concurrency);
        if (cli->json)
                cli_print_json(tree);
        else
                printf("%.15g tasks an hour of %.15g s each are %.4g at a time on average, %.4g at the peak (twice that).\n"
                       "A worker holds %.15g, of which %.0f %% can be used; 30 %% are kept as headroom.\n\n"
                       "  \"max_agents_per_worker\": %.15g, \"min_workers\": %.0f, \"max_workers\": %.0f\n",
                        plan.tasks_per_hour, plan.duration_s, mean, peak, plan.concurrency, plan.efficiency * 100,
                        plan.concurrency, workers, most);
        cJSON_Delete(tree);
        return EXIT_SUCCESS;
}
