/* Time, chance, memory, and the network of a simulated run. */
#include "test/sim/sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t sim_random(struct sim *sim)
{
        uint64_t z = sim->random += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

uint64_t sim_below(struct sim *sim, uint64_t limit)
{
        return limit ? sim_random(sim) % limit : 0;
}

bool sim_chance(struct sim *sim, unsigned per_thousand)
{
        return !sim->quiet && per_thousand && sim_below(sim, 1000) < per_thousand;
}

struct id sim_new_id(struct sim *sim)
{
        uint64_t words[2] = { sim_random(sim), sim_random(sim) };
        struct id id;

        memcpy(id.b, words, sizeof id.b);
        return id;
}

#define CHUNK_SIZE (1u << 20)
struct sim_chunk {
        struct sim_chunk *next;
        size_t used;
        char bytes[];
};

void *sim_alloc(struct sim *sim, size_t size)
{
        struct sim_chunk *chunk = sim->arena;
        void *memory;

        size = (size + 15) & ~(size_t)15;
        if (!chunk || chunk->used + size > CHUNK_SIZE) {
                chunk = malloc(sizeof *chunk + CHUNK_SIZE);
                if (!chunk || size > CHUNK_SIZE)
                        abort();
                chunk->next = sim->arena;
                chunk->used = 0;
                sim->arena = chunk;
        }
        memory = chunk->bytes + chunk->used;
        chunk->used += size;
        return memset(memory, 0, size);
}

void sim_free_all(struct sim *sim)
{
        struct sim_chunk *chunk;

        while ((chunk = sim->arena)) {
                sim->arena = chunk->next;
                free(chunk);
        }
}

char *sim_text(struct sim *sim, const char *text)
{
        size_t size = strlen(text) + 1;

        return memcpy(sim_alloc(sim, size), text, size);
}

void sim_trace(struct sim *sim, const char *format, ...)
{
        va_list args;

        if (!sim->verbose)
                return;
        printf("%8lld ", (long long)(sim->now - sim->started_at));
        va_start(args, format);
        vprintf(format, args);
        va_end(args);
        putchar('\n');
}

void sim_fail(struct sim *sim, const char *format, ...)
{
        va_list args;

        if (sim->failed)
                return;
        sim->failed = true;
        va_start(args, format);
        vsnprintf(sim->why, sizeof sim->why, format, args);
        va_end(args);
        sim_trace(sim, "FAILED %s", sim->why);
}

/* --- events: a binary heap by time, then order of entry ----------------------------------------------------------- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
        return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

static void push(struct sim *sim, struct sim_event event)
{
        size_t i = sim->event_count++;

        if (i == sim->event_size) {
                sim->event_size = sim->event_size ? sim->event_size * 2 : 1024;
                sim->events = realloc(sim->events, sim->event_size * sizeof *sim->events);
                if (!sim->events)
                        abort();
        }
        for (; i > 0 && before(&event, &sim->events[(i - 1) / 2]); i = (i - 1) / 2)
                sim->events[i] = sim->events[(i - 1) / 2];
        sim->events[i] = event;
}

static struct sim_event pop(struct sim *sim)
{
        struct sim_event first = sim->events[0], last = sim->events[--sim->event_count];
        size_t i = 0, child;

        while ((child = 2 * i + 1) < sim->event_count) {
                if (child + 1 < sim->event_count && before(&sim->events[child + 1], &sim->events[child]))
                        child++;
                if (!before(&sim->events[child], &last))
                        break;
                sim->events[i] = sim->events[child];
                i = child;
        }
        sim->events[i] = last;
        return first;
}

void sim_at(struct sim *sim, int64_t at, struct sim_worker *worker, unsigned master, void (*run)(struct sim *, void *),
        void *arg)
{
        push(sim, (struct sim_event){ .at = at, .seq = sim->seq++, .worker = worker, .master = master, .run = run,
                .arg = arg });
}

bool sim_step(struct sim *sim)
{
        struct sim_event event;

        if (sim->event_count == 0)
                return false;
        event = pop(sim);
        if (event.at > sim->now)
                sim->now = event.at;
        if (event.worker && !event.worker->alive)
                return true;
        if (event.master && (!sim->master_alive || event.master != sim->master))
                return true;
        if (event.worker && event.worker->frozen_until > sim->now) {
                event.at = event.worker->frozen_until;
                event.seq = sim->seq++;
                push(sim, event);
                return true;
        }
        sim->events_run++;
        event.run(sim, event.arg);
        return true;
}

static int64_t later(struct sim *sim, int64_t *at)
{
        int64_t next = sim->now + 1 + (int64_t)sim_below(sim, SIM_LATENCY);

        if (at == &sim->store_link.request_at && sim->store_slow_until > next)
                next = sim->store_slow_until;
        if (next > *at)
                *at = next;
        return *at;
}

struct sim_over {
        struct sim_link *link;
        struct sim_worker *worker;
        unsigned master;
        bool lost, received;
        void (*do_it)(struct sim *, void *);
        void (*answer)(struct sim *, void *);
        void *arg;
        int *result;
        struct sim_over *next; /* pending, older */
};

static void deliver(struct sim *sim, void *arg)
{
        struct sim_over *over = arg, **at = &over->link->pending;

        if (over->lost)
                return;
        while (*at != over)
                at = &(*at)->next;
        *at = over->next;
        if (over->answer)
                over->answer(sim, over->arg);
}

static void arrive(struct sim *sim, void *arg)
{
        struct sim_over *over = arg;
        bool registry = over->link != &sim->store_link;

        if (registry && sim->outage == OUTAGE_DEAD)
                over->lost |= over->received;
        if (registry && ((over->lost && !over->received) || sim->outage == OUTAGE_DEAD))
                return; /* it went with its connection */
        over->received = true;
        if (registry && sim->outage == OUTAGE_HUNG) {
                sim_at(sim, sim->outage_until, NULL, 0, arrive, over);
                return;
        }
        over->do_it(sim, over->arg);
        sim_at(sim, later(sim, &over->link->answer_at), over->worker, over->master, deliver, over);
}

void sim_link_lose(struct sim *sim, struct sim_link *link)
{
        struct sim_over *over, *next, *oldest = NULL;

        for (over = link->pending; over; over = next) { /* oldest first */
                next = over->next;
                over->next = oldest;
                oldest = over;
        }
        link->pending = NULL;
        link->connection++;
        link->up = false;
        for (over = oldest; over; over = over->next) {
                over->lost = true;
                *over->result = -EAGAIN;
                if (over->answer && (!over->master || (sim->master_alive && over->master == sim->master)))
                        over->answer(sim, over->arg);
        }
}

void sim_request_over(struct sim *sim, struct sim_link *link, struct sim_worker *worker, unsigned master,
        void (*do_it)(struct sim *, void *), void (*answer)(struct sim *, void *), void *arg, int *result)
{
        struct sim_over *over = sim_alloc(sim, sizeof *over);

        if (!link->up) {
                *result = -EAGAIN;
                if (answer)
                        sim_at(sim, sim->now, worker, master, answer, arg);
                return;
        }
        *over = (struct sim_over){ .link = link, .worker = worker, .master = master, .do_it = do_it, .answer = answer,
                .arg = arg, .result = result, .next = link->pending };
        link->pending = over;
        /* What was sent to the registry is done, even when its sender is dead by then. The store's thread dies with it. */
        sim_at(sim, later(sim, &link->request_at), NULL, link == &sim->store_link ? master : 0, arrive, over);
}

/* --- who is who ---------------------------------------------------------------------------------------------------- */

struct sim_promise *sim_promise(struct sim *sim, const struct id *agent_id)
{
        struct sim_promise *promise;

        HASH_FIND(hh, sim->promises, agent_id, sizeof *agent_id, promise);
        if (promise)
                return promise;
        promise = sim_alloc(sim, sizeof *promise);
        promise->agent_id = *agent_id;
        HASH_ADD(hh, sim->promises, agent_id, sizeof promise->agent_id, promise);
        return promise;
}

struct sim_worker *sim_worker(const struct sim *sim, const struct id *process_id)
{
        struct sim_worker *worker;

        for (worker = sim->workers; worker; worker = worker->next)
                if (id_equal(&worker->process_id, process_id))
                        return worker;
        return NULL;
}

struct sim_row *sim_row(const struct sim *sim, const struct id *agent_id)
{
        struct sim_row *row;

        HASH_FIND(hh, sim->rows, agent_id, sizeof *agent_id, row);
        return row && row->present ? row : NULL;
}

/* --- the store: one thread, group commit, answers in order --------------------------------------------------------- */

struct store_op {
        enum pool_action_type type;
        unsigned pool;
        struct id agent_id;
        uint64_t epoch;
        enum agent_state state;
        uint32_t restarts;
        int32_t max_idle_time;
        int error;
};

static int write_row(struct sim *sim, const struct store_op *op)
{
        struct sim_row *row;

        HASH_FIND(hh, sim->rows, &op->agent_id, sizeof op->agent_id, row);
        if (op->type == POOL_STORE_INSERT && row && row->present)
                return -EEXIST;
        if (op->type == POOL_STORE_DELETE) {
                if (row)
                        row->present = false;
                return 0;
        }
        if (!row) {
                row = sim_alloc(sim, sizeof *row);
                row->agent_id = op->agent_id;
                row->pool = op->pool;
                HASH_ADD(hh, sim->rows, agent_id, sizeof row->agent_id, row);
        }
        if (op->type != POOL_STORE_INSERT && !row->present)
                return -ENOENT;
        if (row->present && row->epoch > op->epoch)
                return -ESTALE;
        row->present = true;
        row->epoch = op->epoch;
        row->state = op->state;
        row->restarts = op->restarts;
        row->max_idle_time = op->max_idle_time;
        return 0;
}

static void store_commit(struct sim *sim, void *arg)
{
        struct store_op *op = arg;

        op->error = sim->now < sim->store_down_until ? -EAGAIN : write_row(sim, op);
        sim_trace(sim, "store %d agent=%.8s epoch=%llu state=%d: %d", op->type, ID_TEXT(&op->agent_id),
                (unsigned long long)op->epoch, op->state, op->error);
        if (op->error == -ESTALE)
                sim_fail(sim, "the store was asked to write agent %s under the lower epoch %llu", ID_TEXT(&op->agent_id),
                        (unsigned long long)op->epoch);
}

static void store_answer(struct sim *sim, void *arg)
{
        struct store_op *op = arg;

        if (op->type == POOL_STORE_DELETE) {
                if (op->error) /* a delete is tried until it is done */
                        sim_request_over(sim, &sim->store_link, NULL, sim->master, store_commit, store_answer, op, &op->error);
                return;
        }
        pool_stored(sim->pools[op->pool], &op->agent_id, op->epoch, op->error, sim->now);
        sim_master_wake(sim);
}

void sim_store(struct sim *sim, unsigned pool, const struct agent *agent, enum pool_action_type type, enum agent_state state)
{
        struct store_op *op = sim_alloc(sim, sizeof *op);

        if (agent->idled)
                sim_check_idle(sim, agent);
        *op = (struct store_op){ .type = type, .pool = pool, .agent_id = agent->agent_id, .epoch = agent->epoch,
                .state = state, .restarts = agent->restarts, .max_idle_time = agent->max_idle_time };
        if (type != POOL_STORE_DELETE && sim->now < sim->store_down_until && sim_chance(sim, 500)) {
                pool_stored(sim->pools[pool], &op->agent_id, op->epoch, -EAGAIN, sim->now); /* its queue is full */
                sim_master_wake(sim);
                return;
        }
        sim_request_over(sim, &sim->store_link, NULL, sim->master, store_commit, store_answer, op, &op->error);
}
