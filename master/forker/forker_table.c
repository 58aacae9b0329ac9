#include "master/forker/forker_table.h"

#include "common/fd.h"

#include <errno.h>
#include <sys/mman.h>

int forker_table_init(struct forker_table *table, uint32_t capacity)
{
        size_t size = capacity * (sizeof *table->workers + sizeof *table->by_pid);
        void *memory;

        if (capacity == 0)
                return -EINVAL;
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
                return -errno;
        /* Best effort: a child that had it would only hold memory it does not need. */
        madvise(memory, size, MADV_DONTFORK);
        *table = (struct forker_table){ .workers = memory, .capacity = capacity, .size = size,
                .free = 0, .head = TABLE_NONE, .tail = TABLE_NONE };
        table->by_pid = (uint32_t *)(table->workers + capacity);
        for (uint32_t i = 0; i < capacity; i++) {
                table->workers[i].control = -1;
                table->workers[i].next = i + 1 < capacity ? i + 1 : TABLE_NONE;
                table->by_pid[i] = TABLE_NONE;
        }
        return 0;
}

void forker_table_done(struct forker_table *table)
{
        if (table->workers)
                munmap(table->workers, table->size);
        *table = (struct forker_table){ 0 };
}

static uint32_t index_of(const struct forker_table *table, const struct forker_worker *worker)
{
        return (uint32_t)(worker - table->workers);
}

static uint32_t *list_of(const struct forker_table *table, pid_t pid)
{
        return &table->by_pid[(uint32_t)pid % table->capacity];
}

struct forker_worker *forker_table_take(struct forker_table *table)
{
        struct forker_worker *worker;

        if (table->free == TABLE_NONE)
                return NULL;
        worker = &table->workers[table->free];
        table->free = worker->next;
        worker->next = TABLE_NONE;
        return worker;
}

void forker_table_add(struct forker_table *table, struct forker_worker *worker)
{
        uint32_t *list = list_of(table, worker->pid);

        worker->state = FORKER_WORKER_LIVE;
        worker->next_pid = *list;
        *list = index_of(table, worker);
        table->live++;
}

void forker_table_gone(struct forker_table *table, struct forker_worker *worker, int status)
{
        uint32_t *link = list_of(table, worker->pid);

        while (*link != index_of(table, worker))
                link = &table->workers[*link].next_pid;
        *link = worker->next_pid;
        worker->state = FORKER_WORKER_GONE;
        worker->status = status;
        table->live--;
}

void forker_table_release(struct forker_table *table, struct forker_worker *worker)
{
        fd_close(worker->control);
        *worker = (struct forker_worker){ .control = -1, .next = table->free };
        table->free = index_of(table, worker);
}

struct forker_worker *forker_table_by_pid(const struct forker_table *table, pid_t pid)
{
        for (uint32_t i = *list_of(table, pid); i != TABLE_NONE; i = table->workers[i].next_pid)
                if (table->workers[i].pid == pid)
                        return &table->workers[i];
        return NULL;
}

struct forker_worker *forker_table_by_id(const struct forker_table *table, const struct id *process_id)
{
        for (struct forker_worker *w = table->workers; w < table->workers + table->capacity; w++)
                if (w->state == FORKER_WORKER_LIVE && id_equal(&w->process_id, process_id))
                        return w;
        return NULL;
}

void forker_table_owe(struct forker_table *table, struct forker_worker *worker, unsigned tell)
{
        if (!worker->tell) {
                worker->next = TABLE_NONE;
                if (table->head == TABLE_NONE)
                        table->head = index_of(table, worker);
                else
                        table->workers[table->tail].next = index_of(table, worker);
                table->tail = index_of(table, worker);
        }
        worker->tell = (uint8_t)(worker->tell | tell);
}

struct forker_worker *forker_table_owed(const struct forker_table *table)
{
        return table->head == TABLE_NONE ? NULL : &table->workers[table->head];
}

void forker_table_told(struct forker_table *table, unsigned tell)
{
        struct forker_worker *worker = &table->workers[table->head];

        worker->tell = (uint8_t)(worker->tell & ~tell);
        if (worker->tell)
                return;
        table->head = worker->next;
        if (worker->state == FORKER_WORKER_GONE)
                forker_table_release(table, worker);
}

void forker_table_owe_all(struct forker_table *table)
{
        table->head = table->tail = TABLE_NONE;
        for (struct forker_worker *w = table->workers; w < table->workers + table->capacity; w++) {
                w->tell = 0;
                w->adopted = w->state == FORKER_WORKER_LIVE;
                if (w->adopted)
                        forker_table_owe(table, w, TELL_WORKER);
                else if (w->state == FORKER_WORKER_GONE)
                        forker_table_release(table, w);
        }
}
