#include "master/forker/forker_signals.h"

static const int SIGNALS[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD };
#define SIGNAL_COUNT (sizeof SIGNALS / sizeof SIGNALS[0])

static volatile sig_atomic_t caught[NSIG];

static void on_signal(int number)
{
        caught[number] = 1;
}

void forker_signals_catch(sigset_t *ret_unblocked)
{
        struct sigaction action = { .sa_handler = on_signal };
        sigset_t blocked;

        signal(SIGPIPE, SIG_IGN);
        signal(SIGXFSZ, SIG_IGN);
        sigemptyset(ret_unblocked);
        sigemptyset(&blocked);
        for (unsigned i = 0; i < SIGNAL_COUNT; i++) {
                sigaddset(&blocked, SIGNALS[i]);
                sigaction(SIGNALS[i], &action, NULL);
        }
        sigprocmask(SIG_BLOCK, &blocked, NULL);
}

int forker_signals_take(void)
{
        for (unsigned i = 0; i < SIGNAL_COUNT; i++)
                if (caught[SIGNALS[i]]) {
                        caught[SIGNALS[i]] = 0;
                        return SIGNALS[i];
                }
        return 0;
}
