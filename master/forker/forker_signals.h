/* The forker's signals: caught at any time, handled between two waits. */
#ifndef MASTER_FORKER_FORKER_SIGNALS_H
#define MASTER_FORKER_FORKER_SIGNALS_H
#include <signal.h>

/* Blocks them except where *ret_unblocked is in force: in ppoll. SIGPIPE and SIGXFSZ are ignored. */
void forker_signals_catch(sigset_t *ret_unblocked);
/* One that came since, 0: none. */
int forker_signals_take(void);
#endif
