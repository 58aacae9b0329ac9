/* plan: how many workers a load needs. Little's law for the mean, twice the mean as peak, 30 % headroom. */
#include "cli/commands.h"
#include "cli/show.h"

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

int cli_plan(struct cli *cli)
{
        struct plan plan = { .tasks_per_hour = cli_number(cli, "tasks-per-hour", 0), .duration_s = cli_number(cli, "duration", 0),
                .concurrency = cli_number(cli, "concurrency", 10), .efficiency = cli_number(cli, "efficiency", 0.8) };
        double mean, peak, workers, most;
        cJSON *tree;

        if (!cli_flag(cli, "tasks-per-hour") || !cli_flag(cli, "duration"))
                return cli_wrong(cli, "%s is missing", cli_flag(cli, "duration") ? "--tasks-per-hour" : "--duration");
        if (!isfinite(plan.tasks_per_hour * plan.duration_s / plan.concurrency / plan.efficiency * PEAK * HEADROOM))
                return cli_wrong(cli, "more than can be reckoned with");
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
        if (cli->format != CLI_TABLE && cli->format != CLI_WIDE)
                show_object(cli, tree, NULL);
        else
                printf("%.15g tasks an hour of %.15g s each are %.4g at a time on average, %.4g at the peak (twice that).\n"
                       "A worker holds %.15g, of which %.0f %% can be used; 30 %% are kept as headroom.\n\n"
                       "  \"max_agents_per_worker\": %.15g, \"min_workers\": %.0f, \"max_workers\": %.0f\n",
                        plan.tasks_per_hour, plan.duration_s, mean, peak, plan.concurrency, plan.efficiency * 100,
                        plan.concurrency, workers, most);
        cJSON_Delete(tree);
        return EXIT_SUCCESS;
}
