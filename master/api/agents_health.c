/* GET /agents/health: all agents, written in parts, so that everybody else is served between them. */
#include "common/json/json.h"
#include "master/api/api.h"

#include <stdlib.h>
#include <string.h>

#define PART_AGENTS 500

struct health {
        struct http_request *request;
        const struct master *master;
        struct event *next;
        struct json_text text;
        size_t pool, at;   /* the pool being written, and which of its agents is next */
        size_t count;
        struct id *agents; /* of that pool, as it was when its turn came; what is gone since is left out */
        bool written;      /* one of them, to be followed by a comma */
};

static void put_text(struct json_text *text, const char *literal)
{
        json_text_put(text, literal, strlen(literal));
}

static void put_member(struct json_text *text, const char *head, const char *value)
{
        put_text(text, head);
        if (value)
                json_text_string(text, value);
        else
                put_text(text, "null");
}

static void put_agent(struct health *health, const struct agent *agent)
{
        struct json_text *text = &health->text;

        put_member(text, health->written ? ",{\"agent_id\":" : "{\"agent_id\":", ID_TEXT(&agent->agent_id));
        put_member(text, ",\"status\":", agent_state_name(agent->state));
        put_member(text, ",\"process_id\":", agent->worker ? ID_TEXT(&agent->worker->process_id) : NULL);
        put_member(text, ",\"role_type\":", agent->role_type);
        put_text(text, "}");
        health->written = true;
}

static void begin_pool(struct health *health, const struct master_pool *pool)
{
        const struct agent *first = pool_first_agent(pool->rules);

        put_member(&health->text, health->pool > 0 ? "," : "{", pool->config->pool_name);
        put_text(&health->text, ":[");
        health->written = false;
        health->at = health->count = 0;
        free(health->agents);
        health->agents = calloc(HASH_COUNT(first) + 1, sizeof *health->agents);
        if (!health->agents)
                health->text.failed = true;
        for (const struct agent *a = first; a && health->agents; a = a->hh.next)
                health->agents[health->count++] = a->agent_id;
}

/* True when all is written. */
static bool write_part(struct health *health)
{
        const struct pools *pools = health->master->pools;
        const struct agent *agent;

        for (unsigned left = PART_AGENTS; health->pool < pools_count(pools) && !health->text.failed; left--) {
                const struct master_pool *pool = pools_at(pools, health->pool);

                if (left == 0)
                        return false;
                if (!health->agents)
                        begin_pool(health, pool);
                agent = health->at < health->count ? pool_agent(pool->rules, &health->agents[health->at]) : NULL;
                if (agent)
                        put_agent(health, agent);
                if (++health->at < health->count)
                        continue;
                put_text(&health->text, "]");
                free(health->agents);
                health->agents = NULL;
                health->pool++;
        }
        put_text(&health->text, health->pool > 0 ? "}" : "{}");
        return true;
}

static void answer(struct health *health)
{
        char *text = json_text_take(&health->text);

        if (text)
                http_answer(health->request, 200, "application/json", text, strlen(text));
        else
                http_answer_problem(health->request, 503, "out of memory; nothing was lost, try again");
        free(text);
        free(health->agents);
        if (health->next)
                event_free(health->next);
        free(health);
}

static void on_next(evutil_socket_t fd, short what, void *arg)
{
        static const struct timeval at_once = { 0 }; /* after what else is due by then */
        struct health *health = arg;

        (void)fd;
        (void)what;
        if (!http_request_alive(health->request) || write_part(health))
                answer(health);
        else
                event_add(health->next, &at_once);
}

void api_agents_health(struct http_request *request, void *arg)
{
        const struct master *master = arg;
        struct health *health = calloc(1, sizeof *health);

        if (health)
                *health = (struct health){ .request = request, .master = master, .next = event_new(master->base, -1, 0, on_next, health) };
        if (!health || !health->next) {
                http_answer_problem(request, 503, "out of memory; try again");
                free(health);
                return;
        }
        on_next(-1, 0, health);
}
