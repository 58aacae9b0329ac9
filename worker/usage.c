#include "worker/usage.h"

#include "common/log.h"
#include "worker/hosting.h"

#include <errno.h>

static void send_portion(struct worker *worker, struct control *portion)
{
        int r = worker_send(worker, portion);

        if (r < 0 && r != -EPIPE)
                log_warn("usage.not_sent", "error=%s", LOG_Q(strerrorname_np(-r)));
        portion->used_count = 0;
}

void usage_tell(struct worker *worker, int64_t number)
{
        static struct control_used used[HOSTED_MAX]; /* of this one loop */
        struct control portion = { .type = CONTROL_USED, .number = number, .used = used, .more = true };

        for (struct hosted *h = roster_first(worker->roster); h; h = h->hh.next) {
                const struct runtime_agent *agent = hosting_agent(h);
                struct control_used *next = &used[portion.used_count];

                if (!agent || runtime_usage(agent, &next->usage) < 0)
                        continue;
                next->agent_id = h->agent_id;
                next->epoch = h->epoch;
                if (++portion.used_count == HOSTED_MAX)
                        send_portion(worker, &portion);
        }
        portion.more = false;
        send_portion(worker, &portion);
}
