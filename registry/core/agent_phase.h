/* Where an agent that should exist stands on its way into a worker: a table phase × event, nothing else. Pure. */
#ifndef REGISTRY_CORE_AGENT_PHASE_H
#define REGISTRY_CORE_AGENT_PHASE_H

enum agent_phase {
        PHASE_NONE = 1,  /* not on the way: runs, or should not exist */
        PHASE_STORING,   /* its new epoch is being committed; no placement before that (never for a first spawn) */
        PHASE_WAITING,   /* for a slot */
        PHASE_RESERVING, /* the registry was asked */
        PHASE_SENT,      /* slot taken, command published, acknowledgement awaited */
        PHASE_WITHDRAWN, /* told to end where it is, placed again once it is certainly gone */
        PHASE_DELAYED,   /* restart back-off */
        PHASE_RESTORING, /* loaded from the store; adopted workers may yet report it */
        PHASE_COUNT
};
enum agent_phase_event {
        PHASE_EV_SPAWN = 1,
        PHASE_EV_RESTORE,  /* read from the store */
        PHASE_EV_PLACE,    /* again, under a new epoch */
        PHASE_EV_STORED,   /* that epoch is */
        PHASE_EV_RESERVE,  /* a slot is asked for */
        PHASE_EV_REFUSED,  /* there was none, or no answer */
        PHASE_EV_PLACED,   /* a worker has it, or will */
        PHASE_EV_STARTED,  /* its worker said so */
        PHASE_EV_DOUBT,    /* its worker should have it and did not list it */
        PHASE_EV_WITHDRAW, /* it is to run elsewhere */
        PHASE_EV_DELAY,    /* a later try */
        PHASE_EV_STOP,     /* it should not exist any more */
        PHASE_EV_END,      /* it certainly runs nowhere */
        PHASE_EVENT_COUNT
};

/* 0, or -EPROTO when the phase refuses the event: *phase is then unchanged. */
int agent_phase_apply(enum agent_phase *phase, enum agent_phase_event event);
#endif
