#include "master/forker/forker_retired.h"

#include "common/fd.h"

#include <signal.h>

bool forker_retired_full(const struct forker_retired *retired)
{
        return retired->count == FORKER_RETIRED_MAX;
}

/* Its index, or count. */
static unsigned find(const struct forker_retired *retired, pid_t pid)
{
        unsigned i = 0;

        while (i < retired->count && retired->pids[i] != pid)
                i++;
        return i;
}

bool forker_retired_has(const struct forker_retired *retired, pid_t pid)
{
        return find(retired, pid) < retired->count;
}

bool forker_retired_add(struct forker_retired *retired, pid_t pid, int take_socket)
{
        if (forker_retired_full(retired))
                return false;
        retired->pids[retired->count] = pid;
        retired->sockets[retired->count++] = take_socket;
        return true;
}

bool forker_retired_gone(struct forker_retired *retired, pid_t pid)
{
        unsigned i = find(retired, pid);

        if (i == retired->count)
                return false;
        fd_close(retired->sockets[i]);
        retired->count--;
        for (; i < retired->count; i++) {
                retired->pids[i] = retired->pids[i + 1];
                retired->sockets[i] = retired->sockets[i + 1];
        }
        return true;
}

void forker_retired_dismiss(struct forker_retired *retired)
{
        for (unsigned i = 0; i < retired->count; i++)
                retired->sockets[i] = fd_close(retired->sockets[i]);
}

void forker_retired_kill(const struct forker_retired *retired)
{
        for (unsigned i = 0; i < retired->count; i++)
                kill(retired->pids[i], SIGKILL);
}
