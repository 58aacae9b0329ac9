/* Spawn, acknowledge, reap, adopt: who may believe what when messages are lost, doubled or late, workers hang or die, masters
 * die and Redis forgets. The rules are those of registry/core/pool*.c, registry/core/roster.c and registry/redis/scripts/, with time left out:
 * whatever may take long may take for ever. scripts/model runs it; each BREAK_… takes one rule away, and must be found out.
 *
 * A published message stays on the wire once it was sent: it may arrive at any moment, and again. Only a fault of its own takes
 * it away. Requests of a master wait before Redis; its answers wait before the master. What a worker asks Redis for is one step,
 * because its connection keeps the order. A step is left out when it would change nothing, so a run in which the faults are
 * over comes to its end: there, everything that was promised has to be true. */
#ifndef AGENTS
#define AGENTS 1
#endif
#ifndef WORKERS  /* that can ever be forked; each process id is used once */
#define WORKERS 3
#endif
#ifndef SLOTS
#define SLOTS 1
#endif
#ifndef EPOCHS
#define EPOCHS 6
#endif
/* How often each fault may strike. */
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef HANGS
#define HANGS 0
#endif
#ifndef EXITS
#define EXITS 0
#endif
#ifndef LOSSES   /* of a message */
#define LOSSES 1
#endif
#ifndef MUTES    /* of Redis' answer to a reservation */
#define MUTES 0
#endif
#ifndef FLUSHES
#define FLUSHES 0
#endif
#ifndef DEATHS   /* of the master */
#define DEATHS 1
#endif
#ifndef RESTARTS
#define RESTARTS 0
#endif
#ifndef ENDS     /* terminates */
#define ENDS 1
#endif

#define NOWHERE 255
#define BIT(e) (1 << (e))
#define PAIR (w * AGENTS + a)

/* The store: epoch and state of each row. */
#define ROW_NONE 0
#define ROW_WANTED 1
#define ROW_TERMINATED 2
byte row[AGENTS], row_epoch[AGENTS];

/* Redis. What a dead master asked for last may still wait before it. */
#define UNKNOWN 0
#define READY 1
#define EXITED 2
byte reg_worker[WORKERS], reg_place[AGENTS] = NOWHERE, reg_epoch[AGENTS];
bool reg_ending[AGENTS];                  /* the recorded command is a terminate */
byte reg_ended[AGENTS * WORKERS];         /* epochs whose end nobody has confirmed */
byte ask[AGENTS], late[AGENTS];           /* a reservation of the living master, of a dead one: its epoch */
byte answer[AGENTS];                      /* to it: */
#define NO_ANSWER 0
#define NO_SLOT 1
#define FENCED 2
#define NO_ECHO 3
#define PLACED 4                          /* + worker */

/* On the wire: sets of epochs. */
byte spawn[AGENTS * WORKERS], terminate[AGENTS * WORKERS], spawned[AGENTS * WORKERS], ended[AGENTS * WORKERS];
byte evict[AGENTS * WORKERS];             /* on the control socket: arrives */
byte stale[AGENTS * WORKERS];             /* those spawns that are of a dead master */
byte older[AGENTS * WORKERS];             /* those that are of a master before that */
byte reg_age[AGENTS], late_age[AGENTS];   /* the same of the recorded command and of what Redis was asked: 0 of the living */

/* Workers. */
#define NEVER 0
#define ALIVE 1
#define DEAD 2                            /* its agents' programs may run on … */
#define GONE 3                            /* … until the forker has ended them; the master is to be told */
#define TOLD 4
byte process[WORKERS];
byte obeys[WORKERS];                      /* it has told what it runs: 1 the living master, 2 the last that died, 3 one before */
bool hung[WORKERS], registered[WORKERS], welcome[WORKERS], draining[WORKERS];
#define EMPTY 0
#define RUNNING 1
#define STOPPING 2
#define OVER 3                            /* ended, not reported */
byte host[AGENTS * WORKERS], host_epoch[AGENTS * WORKERS], host_next[AGENTS * WORKERS], tombstone[AGENTS * WORKERS];
bool reported[AGENTS * WORKERS], fenced[AGENTS * WORKERS];
/* What `ready` says, on its way: epochs, and by whom it was asked for. */
byte said[AGENTS * WORKERS];
#define LEAVING 128                       /* it is being ended */
bool saying[WORKERS], said_to_dead[WORKERS];

/* The master. Phases as in registry/core/agent.h, but that running and stopping are phases here. */
#define NONE 0
#define STORING 1
#define WAITING 2
#define RESERVING 3
#define SENT 4
#define RUNS 5
#define WITHDRAWN 6
#define DELAYED 7
#define RESTORING 8
#define ENDING 9                          /* it is told to end */
#define CLOSING 10                        /* certainly gone; its row is to say so */
bool master = true;
byte phase[AGENTS], epoch[AGENTS], place[AGENTS] = NOWHERE;
bool ending[AGENTS], uncertain[AGENTS], unstored[AGENTS], acked[AGENTS], listed[AGENTS];
#define STARTING 1
#define USABLE 2
#define SUSPECT 3
#define ADOPTED 4                         /* has not said yet what it runs … */
#define DOOMED 5                          /* … and is suspected */
byte known[WORKERS];

/* Outside: what clients were told, and what ever ran. */
bool asked[AGENTS], promised[AGENTS], end_asked[AGENTS], end_promised[AGENTS];
byte started[AGENTS];
byte crashes = CRASHES, hangs = HANGS, exits = EXITS, losses = LOSSES, mutes = MUTES, flushes = FLUSHES, deaths = DEATHS,
        restarts = RESTARTS, ends = ENDS, blind = 1;
byte i, n, v;                             /* scratch of one step; always 0 between two */

#define RUNNING_AT(p, x) ((process[p] == ALIVE || process[p] == DEAD) && (host[x] == RUNNING || host[x] == STOPPING))

inline count_running(agent) { /* n: places where it runs */
        n = 0;
        for (i : 0 .. WORKERS - 1) {
                n = n + (RUNNING_AT(i, i * AGENTS + agent) -> 1 : 0)
        }
        i = 0
}

inline count_live(worker) { /* n: agents that it runs, as far as it takes slots */
        n = 0;
        for (i : 0 .. AGENTS - 1) {
                n = n + (host[worker * AGENTS + i] == RUNNING || host[worker * AGENTS + i] == STOPPING -> 1 : 0)
        }
        i = 0
}

/* ---- worker ---- */

inline begin(e) { /* an agent starts: the moment of truth */
        count_running(a);
        assert(n == 0);                   /* never two under one id, never before the old one is gone */
        assert(e > started[a]);           /* never two starts under one epoch, none under a lower one */
        started[a] = e;
        host[PAIR] = RUNNING; host_epoch[PAIR] = e; host_next[PAIR] = 0;
        reported[PAIR] = false; fenced[PAIR] = false;
        count_live(w);
        assert(n <= SLOTS);
        n = 0
}

inline forget_hosted() {
#ifndef BREAK_NO_GRAVE
        tombstone[PAIR] = (host_epoch[PAIR] > tombstone[PAIR] -> host_epoch[PAIR] : tombstone[PAIR]);
#endif
        host[PAIR] = EMPTY; host_epoch[PAIR] = 0; reported[PAIR] = false; fenced[PAIR] = false
}

inline fence() {
        fenced[PAIR] = true;
        if
        :: host[PAIR] == RUNNING -> host[PAIR] = STOPPING
        :: host[PAIR] == OVER && !host_next[PAIR] -> forget_hosted()
        :: else
        fi
}

/* An end as the registry takes it: nothing when the agent is elsewhere or under a higher epoch. */
inline report_end(e) {
        if
        :: reg_place[a] != NOWHERE && (reg_epoch[a] > e || reg_place[a] != w)
        :: else ->
                reg_ended[PAIR] = reg_ended[PAIR] | BIT(e);
                if
                :: reg_place[a] == w && reg_epoch[a] <= e -> reg_place[a] = NOWHERE; reg_epoch[a] = 0; reg_ending[a] = false; reg_age[a] = 0
                :: else
                fi;
                ended[PAIR] = ended[PAIR] | BIT(e)
        fi
}

/* It does not run here and will not under this epoch. */
#define DENIED_MATTERS(e) (reg_worker[w] == READY && !((reg_ended[PAIR] | ended[PAIR]) & BIT(e)) \
        && ((reg_place[a] == w && reg_epoch[a] == e) || (master && place[a] == w && epoch[a] == e)))

inline deny(e) {
        tombstone[PAIR] = (e > tombstone[PAIR] -> e : tombstone[PAIR]);
        report_end(e)
}

/* The command of a spawn matters here. */
#define FRESH(e) (e > tombstone[PAIR] && (host[PAIR] == EMPTY || host_epoch[PAIR] < e) && host_next[PAIR] < e)
#ifdef BREAK_OBEY_THE_DEAD
#define REFUSES(age) false
#else
#define REFUSES(age) (obeys[w] && age >= obeys[w])
#endif
#ifdef BREAK_OLD_GRAVE
#define IS_BURIED(e) (e == tombstone[PAIR])
#else
#define IS_BURIED(e) (e <= tombstone[PAIR])
#endif
#define SPAWN_MATTERS(e) (FRESH(e) || (IS_BURIED(e) && host[PAIR] == EMPTY && DENIED_MATTERS(e)) \
        || (host[PAIR] == RUNNING && host_epoch[PAIR] == e && reported[PAIR] && !(spawned[PAIR] & BIT(e)) \
                && master && place[a] == w && epoch[a] == e && phase[a] == SENT))

inline take_spawn(e, age) {
        if
        :: REFUSES(age) && FRESH(e) -> deny(e)
        :: host[PAIR] != EMPTY && host_epoch[PAIR] == e -> reported[PAIR] = false
        :: IS_BURIED(e) && host[PAIR] == EMPTY -> deny(e)
        :: !REFUSES(age) && e > tombstone[PAIR] && host[PAIR] != EMPTY && host_epoch[PAIR] < e ->
                host_next[PAIR] = e;
                fence();
                if
                :: host[PAIR] == OVER -> forget_hosted(); begin(e)
                :: else
                fi
        :: !REFUSES(age) && e > tombstone[PAIR] && host[PAIR] == EMPTY ->
                count_live(w);
                if
                :: n >= SLOTS || draining[w] -> n = 0; deny(e)
                :: else -> begin(e)
                fi
        :: else
        fi
}

#define TERMINATE_MATTERS(e) ((host[PAIR] == EMPTY && (tombstone[PAIR] < e || DENIED_MATTERS(e))) \
        || (host[PAIR] != EMPTY && host_epoch[PAIR] < e && tombstone[PAIR] < e) \
        || (host[PAIR] == RUNNING && host_epoch[PAIR] == e))

inline take_terminate(e) {
        if
        :: host[PAIR] == EMPTY -> deny(e)
        :: host[PAIR] != EMPTY && host_epoch[PAIR] < e ->
                tombstone[PAIR] = e;
                host_next[PAIR] = (host_next[PAIR] <= e -> 0 : host_next[PAIR]);
                fence()
        :: host[PAIR] == RUNNING && host_epoch[PAIR] == e -> host[PAIR] = STOPPING
        :: else
        fi
}

/* ---- master ---- */

inline place_again() {
        assert(epoch[a] < EPOCHS);        /* else the bounds of this run are too small to say anything */
        epoch[a] = epoch[a] + 1;
        place[a] = NOWHERE; acked[a] = false; uncertain[a] = false;
#ifdef BREAK_NO_STORED_EPOCH
        phase[a] = WAITING
#else
        phase[a] = STORING;
        unstored[a] = true
#endif
}

inline gone_for_good() {
        place[a] = NOWHERE; phase[a] = CLOSING
}

inline reserved_at() { /* w is known to have it */
        place[a] = w; uncertain[a] = false;
        phase[a] = (ending[a] -> ENDING : SENT)
}

inline agent_ended() {
        acked[a] = false;
        if
        :: ending[a] -> gone_for_good()
        :: else -> place_again()
        fi
}

#define ACTIVE (phase[a] != NONE && phase[a] != CLOSING)
#define FOUND_EARLY (phase[a] == (uncertain[a] -> WAITING : RESERVING))
#define IS_OLD(e) (!ACTIVE || e < epoch[a] || (place[a] != NOWHERE && place[a] != w))

inline take_spawned(e) {
        spawned[PAIR] = spawned[PAIR] & ~BIT(e);
        if
        :: known[w] == UNKNOWN
        :: known[w] != UNKNOWN && IS_OLD(e) ->
#ifndef BREAK_NO_EVICT
                evict[PAIR] = evict[PAIR] | BIT(e)
#else
                skip
#endif
        :: known[w] != UNKNOWN && !IS_OLD(e) && e == epoch[a] ->
                if
                :: place[a] == NOWHERE && FOUND_EARLY -> reserved_at()
                :: else
                fi;
                if
                :: place[a] == w && phase[a] == SENT -> phase[a] = RUNS; acked[a] = true
                :: else
                fi
        :: else
        fi
}

inline take_ended(e) {
        ended[PAIR] = ended[PAIR] & ~BIT(e);
        reg_ended[PAIR] = reg_ended[PAIR] & ~BIT(e);
        if
        :: known[w] != UNKNOWN && !IS_OLD(e) && e == epoch[a] ->
                if
                :: place[a] == NOWHERE && FOUND_EARLY -> reserved_at()
                :: else
                fi;
                if
                :: place[a] == w || phase[a] == RESTORING -> agent_ended()
                :: else
                fi
        :: else
        fi
}

/* `ready` of worker w, about agent a (pool_take_hosted). */
inline take_hosted(e, leaving) {
        if
        :: e && ACTIVE && ((phase[a] == RESTORING && e >= epoch[a]) || (FOUND_EARLY && e == epoch[a])) ->
                if
                :: e > epoch[a] -> epoch[a] = e; unstored[a] = true
                :: else
                fi;
                reserved_at();
                if
                :: !ending[a] && !leaving -> phase[a] = RUNS; acked[a] = true
                :: else
                fi
        :: else
        fi;
        if
        :: e && ACTIVE && place[a] == w && epoch[a] == e -> listed[a] = true
        :: e && !(ACTIVE && place[a] == w && epoch[a] == e) &&
                !(ACTIVE && epoch[a] == e && phase[a] == RESERVING) ->
#ifndef BREAK_NO_EVICT
                evict[PAIR] = evict[PAIR] | BIT(e)
#else
                skip
#endif
        :: else
        fi
}

/* By the master's books. */
#define HOLDS(x) (phase[x] == RESERVING || (place[x] != NOWHERE && known[place[x]] == USABLE))
#if AGENTS == 1
#define HELD HOLDS(0)
#elif AGENTS == 2
#define HELD (HOLDS(0) + HOLDS(1))
#endif
#if WORKERS == 2
#define ANY(F) (F(0) || F(1))
#define COUNT(F) (F(0) + F(1))
#elif WORKERS == 3
#define ANY(F) (F(0) || F(1) || F(2))
#define COUNT(F) (F(0) + F(1) + F(2))
#elif WORKERS == 4
#define ANY(F) (F(0) || F(1) || F(2) || F(3))
#define COUNT(F) (F(0) + F(1) + F(2) + F(3))
#endif
#define IS_USABLE(p) (known[p] == USABLE)
#define IS_COMING(p) (known[p] == STARTING || known[p] == ADOPTED)
#define IS_ADOPTED(p) (known[p] == ADOPTED || known[p] == DOOMED)
#define IS_NEVER(p) (process[p] == NEVER)
#define FREE_SLOTS (COUNT(IS_USABLE) * SLOTS - HELD)
#define ANY_COMING ANY(IS_COMING)
#define ANY_NEVER ANY(IS_NEVER)

/* Everything the master held is gone; what it asked Redis for last may still be done. */
inline master_dies() {
        master = false;
        for (i : 0 .. AGENTS - 1) {
                if
                :: ask[i] && ask[i] > late[i] -> late[i] = ask[i]; late_age[i] = 1
                :: else -> late_age[i] = (late[i] -> 2 : 0)
                fi;
                ask[i] = 0; answer[i] = NO_ANSWER;
                reg_age[i] = (reg_place[i] != NOWHERE && reg_age[i] < 2 -> reg_age[i] + 1 : reg_age[i]);
                phase[i] = NONE; epoch[i] = 0; place[i] = NOWHERE;
                ending[i] = false; uncertain[i] = false; unstored[i] = false; acked[i] = false
        }
        for (i : 0 .. WORKERS - 1) {
                known[i] = UNKNOWN;
                welcome[i] = false;
                obeys[i] = (obeys[i] && obeys[i] < 3 -> obeys[i] + 1 : obeys[i]);
                said_to_dead[i] = saying[i];   /* its packet waits in the socket, which the next master gets */
                if
                :: process[i] == GONE -> process[i] = TOLD /* the next one is told of the living only */
                :: else
                fi
        }
        for (i : 0 .. AGENTS * WORKERS - 1) {
                spawned[i] = 0; ended[i] = 0;
                older[i] = older[i] | stale[i];
                stale[i] = spawn[i] & ~older[i]
        }
        i = 0
}

inline master_starts() {
        master = true;
        for (i : 0 .. AGENTS - 1) {
                if
                :: row[i] == ROW_WANTED -> phase[i] = RESTORING; epoch[i] = row_epoch[i]
                :: else
                fi
        }
        for (i : 0 .. WORKERS - 1) {
                if
                :: process[i] == ALIVE || process[i] == DEAD -> known[i] = ADOPTED; welcome[i] = true
                :: else
                fi
        }
        i = 0
}

/* ---- Redis: a reservation ---- */

inline reg_forget() {
        reg_place[a] = NOWHERE; reg_epoch[a] = 0; reg_ending[a] = false; reg_age[a] = 0
}

#define IN_PLACE(e) (reg_place[a] != NOWHERE && reg_epoch[a] == e)
#define OUTRUN(e) (reg_place[a] != NOWHERE && reg_epoch[a] > e)
#define UNPLACED(e) (!IN_PLACE(e) && !OUTRUN(e))
/* Slots that Redis would give away there: those not taken by other agents. */
#if AGENTS == 1
#define TAKEN(p) 0
#elif AGENTS == 2
#define TAKEN(p) (reg_place[1 - a] == p)
#endif
#define ROOM(p) (reg_worker[p] == READY && TAKEN(p) < SLOTS)
#define ANY_ROOM ANY(ROOM)

inline reg_take(e, age) {
        reg_place[a] = w; reg_epoch[a] = e; reg_ending[a] = false; reg_age[a] = age;
        spawn[PAIR] = spawn[PAIR] | BIT(e);
        stale[PAIR] = (age == 1 -> stale[PAIR] | BIT(e) : stale[PAIR] & ~BIT(e));
        older[PAIR] = (age == 2 -> older[PAIR] | BIT(e) : older[PAIR] & ~BIT(e))
}

/* ---- one agent at one worker: what arrives, what is listed, what ends ---- */

#define UP (process[w] == ALIVE && !hung[w])
#define HEARD (UP && registered[w] && reg_worker[w] == READY)
#define LISTED (reg_place[a] == w)
/* Redis may choose a dead worker until it is reaped. In time that ends by itself; here it happens once. */
#define KNOWN_UP (known[w] != UNKNOWN)

#define EACH_EPOCH(STEP) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6)

#define AGE(e) ((older[PAIR] & BIT(e)) -> 2 : ((stale[PAIR] & BIT(e)) -> 1 : 0))
#define TAKE_SPAWN(e) :: d_step { UP && (spawn[PAIR] & BIT(e)) && SPAWN_MATTERS(e) -> take_spawn(e, AGE(e)); n = 0 }
#define TAKE_TERMINATE(e) :: d_step { UP && (terminate[PAIR] & BIT(e)) && TERMINATE_MATTERS(e) -> take_terminate(e) }
#define TAKE_EVICT(e) :: d_step { UP && (evict[PAIR] & BIT(e)) -> evict[PAIR] = evict[PAIR] & ~BIT(e); take_terminate(e) }
#define TAKE_SPAWNED(e) :: d_step { master && (spawned[PAIR] & BIT(e)) -> take_spawned(e) }
#define TAKE_ENDED(e) :: d_step { master && ((ended[PAIR] | reg_ended[PAIR]) & BIT(e)) -> take_ended(e) }

proctype link(byte w; byte a)
{
end:    do
        EACH_EPOCH(TAKE_SPAWN)
        EACH_EPOCH(TAKE_TERMINATE)
        EACH_EPOCH(TAKE_EVICT)
        EACH_EPOCH(TAKE_SPAWNED)
        EACH_EPOCH(TAKE_ENDED)
#ifndef BREAK_NO_LISTING
        :: d_step { HEARD && LISTED && !reg_ending[a] && SPAWN_MATTERS(reg_epoch[a]) -> v = reg_epoch[a]; take_spawn(v, reg_age[a]); v = 0; n = 0 }
        :: d_step { HEARD && LISTED && reg_ending[a] && TERMINATE_MATTERS(reg_epoch[a]) -> v = reg_epoch[a]; take_terminate(v); v = 0 }
        :: d_step { HEARD && host[PAIR] == RUNNING && reported[PAIR] && !(LISTED && reg_epoch[a] >= host_epoch[PAIR]) ->
                host[PAIR] = STOPPING }
#endif
        :: d_step { UP && host[PAIR] == STOPPING ->
                if
                :: host_next[PAIR] -> v = host_next[PAIR]; forget_hosted(); begin(v); v = 0
                :: !host_next[PAIR] && fenced[PAIR] -> forget_hosted()
                :: else -> host[PAIR] = OVER
                fi }
        :: d_step { UP && exits && host[PAIR] == RUNNING -> exits--; host[PAIR] = OVER }
        :: d_step { HEARD && host[PAIR] == RUNNING && !reported[PAIR] ->
                if
                :: LISTED && reg_epoch[a] == host_epoch[PAIR] ->
                        reported[PAIR] = true;
                        spawned[PAIR] = (master && !welcome[w] -> spawned[PAIR] | BIT(host_epoch[PAIR]) : spawned[PAIR])
                :: else -> fence()
                fi }
        :: d_step { HEARD && host[PAIR] == OVER -> v = host_epoch[PAIR]; report_end(v); forget_hosted(); v = 0 }
        /* Redis carries out a reservation, and says so or not. */
        :: d_step { ask[a] && UNPLACED(ask[a]) && ROOM(w) && (KNOWN_UP || blind) ->
                blind = (KNOWN_UP -> blind : blind - 1);
                reg_take(ask[a], 0); answer[a] = PLACED + w; ask[a] = 0 }
        :: d_step { ask[a] && mutes && UNPLACED(ask[a]) && ROOM(w) && KNOWN_UP ->
                mutes--; reg_take(ask[a], 0); answer[a] = NO_ECHO; ask[a] = 0 }
        :: d_step { late[a] && UNPLACED(late[a]) && ROOM(w) ->
                reg_take(late[a], late_age[a]); late[a] = 0; late_age[a] = 0 }
        :: d_step { master && answer[a] == PLACED + w ->
                answer[a] = NO_ANSWER;
                if
                :: phase[a] == RESERVING && known[w] != UNKNOWN -> reserved_at()
                :: phase[a] == RESERVING && known[w] == UNKNOWN && ending[a] -> gone_for_good()
                :: phase[a] == RESERVING && known[w] == UNKNOWN && !ending[a] -> place_again()
                :: else
                fi }
        /* A spawn or terminate again, until its answer comes: where Redis has it, else by the control socket. */
#ifndef BREAK_NO_RESEND
        :: d_step { master && phase[a] == SENT && place[a] == w && (!(spawn[PAIR] & BIT(epoch[a])) || ((stale[PAIR] | older[PAIR]) & BIT(epoch[a]))) && !OUTRUN(epoch[a]) ->
                spawn[PAIR] = spawn[PAIR] | BIT(epoch[a]);
                stale[PAIR] = stale[PAIR] & ~BIT(epoch[a]);
                older[PAIR] = older[PAIR] & ~BIT(epoch[a]);
                reg_age[a] = (IN_PLACE(epoch[a]) -> 0 : reg_age[a]) }
        :: d_step { master && (phase[a] == ENDING || phase[a] == WITHDRAWN) && place[a] == w && !OUTRUN(epoch[a]) &&
                        (!(terminate[PAIR] & BIT(epoch[a])) || (IN_PLACE(epoch[a]) && !reg_ending[a])) ->
                terminate[PAIR] = terminate[PAIR] | BIT(epoch[a]);
                reg_ending[a] = (IN_PLACE(epoch[a]) -> true : reg_ending[a]) }
#endif
        /* Lost on the wire. */
        :: d_step { losses && spawn[PAIR] -> losses--; spawn[PAIR] = 0 }
        :: d_step { losses && terminate[PAIR] -> losses--; terminate[PAIR] = 0 }
        :: d_step { losses && spawned[PAIR] -> losses--; spawned[PAIR] = 0 }
        :: d_step { losses && ended[PAIR] -> losses--; ended[PAIR] = 0 }
        od
}

/* ---- one worker ---- */

inline snapshot() {
        saying[w] = true;
        said_to_dead[w] = !master || welcome[w];
        obeys[w] = (master && !welcome[w] -> 1 : obeys[w]);
        for (a : 0 .. AGENTS - 1) {
#ifdef BREAK_SILENT_FENCE
                said[PAIR] = ((host[PAIR] == RUNNING || host[PAIR] == STOPPING) && !fenced[PAIR] -> host_epoch[PAIR] : 0)
#else
                said[PAIR] = (host[PAIR] == RUNNING || host[PAIR] == STOPPING -> host_epoch[PAIR] : 0);
                said[PAIR] = (fenced[PAIR] -> said[PAIR] | LEAVING : said[PAIR])
#endif
        }
        a = 0
}

inline register() {
        registered[w] = true;
        reg_worker[w] = READY;
        for (a : 0 .. AGENTS - 1) {
                if
                :: (host[PAIR] == RUNNING || host[PAIR] == STOPPING) && !fenced[PAIR] ->
                        if
                        :: OUTRUN(host_epoch[PAIR]) || (IN_PLACE(host_epoch[PAIR]) && reg_place[a] != w) -> fence()
                        :: else ->
                                reg_ending[a] = (IN_PLACE(host_epoch[PAIR]) -> reg_ending[a] : false);
                                reg_place[a] = w; reg_epoch[a] = host_epoch[PAIR]
                        fi
                :: else
                fi
        }
        a = 0
}

inline worker_lost() {
        for (a : 0 .. AGENTS - 1) {
                if
                :: place[a] == w -> agent_ended()
                :: else
                fi
        }
        a = 0
}

inline reap() {
        reg_worker[w] = EXITED;
        for (a : 0 .. AGENTS - 1) {
                reg_ended[PAIR] = 0;
                if
                :: reg_place[a] == w -> reg_forget()
                :: else
                fi
        }
        a = 0
}

proctype worker(byte w)
{
        byte a;
end:    do
        :: d_step { UP && registered[w] && reg_worker[w] == UNKNOWN -> registered[w] = false }
        :: d_step { UP && !registered[w] && reg_worker[w] != EXITED -> register(); snapshot() }
        :: d_step { UP && reg_worker[w] == EXITED && !draining[w] ->
                draining[w] = true;
                for (a : 0 .. AGENTS - 1) {
                        host_next[PAIR] = 0;
                        if
                        :: host[PAIR] != EMPTY -> fence()
                        :: else
                        fi
                }
                a = 0 }
        /* To a new master: what is listed first, then what runs. */
        :: d_step { HEARD && welcome[w] ->
                welcome[w] = false;
                for (a : 0 .. AGENTS - 1) {
                        if
                        :: LISTED && !reg_ending[a] && SPAWN_MATTERS(reg_epoch[a]) -> v = reg_epoch[a]; take_spawn(v, reg_age[a])
                        :: LISTED && reg_ending[a] && TERMINATE_MATTERS(reg_epoch[a]) -> v = reg_epoch[a]; take_terminate(v)
                        :: else
                        fi
                }
                n = 0; v = 0; a = 0;
                snapshot() }
        :: d_step { master && saying[w] && known[w] != UNKNOWN ->
                saying[w] = false;
                if
#ifndef BREAK_STALE_READY
                :: said_to_dead[w]
#endif
                :: else ->
                        known[w] = (known[w] == SUSPECT || known[w] == DOOMED -> SUSPECT : USABLE);
                        for (a : 0 .. AGENTS - 1) {
                                v = said[PAIR] & ~LEAVING;
                                take_hosted(v, (said[PAIR] & LEAVING));
                                if
                                :: place[a] == w && phase[a] == RUNS && !listed[a] -> phase[a] = SENT; acked[a] = false
                                :: else
                                fi;
                                listed[a] = false
                        }
                fi;
                for (a : 0 .. AGENTS - 1) {
                        said[PAIR] = 0
                }
                v = 0; a = 0; said_to_dead[w] = false }
        /* Death: a crash, or a hang that is found out. */
        :: d_step { crashes && process[w] == ALIVE -> crashes--; process[w] = DEAD }
        :: d_step { hangs && process[w] == ALIVE && !hung[w] -> hangs--; hung[w] = true }
        :: d_step { hung[w] -> hung[w] = false }
        :: d_step { master && hung[w] && process[w] == ALIVE && known[w] != UNKNOWN && known[w] != SUSPECT && known[w] != DOOMED ->
                known[w] = (known[w] == ADOPTED -> DOOMED : SUSPECT);
#ifdef BREAK_NO_REAP_WAIT
                worker_lost();
                reap()
#endif
                }
        :: d_step { (known[w] == SUSPECT || known[w] == DOOMED) && process[w] == ALIVE -> process[w] = DEAD; hung[w] = false }
        :: d_step { process[w] == DEAD ->
                process[w] = (master -> GONE : TOLD);
                registered[w] = false; draining[w] = false; hung[w] = false; saying[w] = false; welcome[w] = false;
                said_to_dead[w] = false; obeys[w] = 0;
                for (a : 0 .. AGENTS - 1) {
                        host[PAIR] = EMPTY; host_epoch[PAIR] = 0; host_next[PAIR] = 0; tombstone[PAIR] = 0; said[PAIR] = 0;
                        reported[PAIR] = false; fenced[PAIR] = false; spawn[PAIR] = 0; terminate[PAIR] = 0; evict[PAIR] = 0;
                        stale[PAIR] = 0; older[PAIR] = 0
                }
                a = 0 }
#ifdef BREAK_NO_STRAYS
#define EXIT_KNOWN (process[w] == GONE || process[w] == DEAD)
#else
#define EXIT_KNOWN (process[w] == GONE)
#endif
        :: d_step { master && EXIT_KNOWN && known[w] != UNKNOWN ->
                process[w] = (process[w] == GONE -> TOLD : process[w]);
                known[w] = UNKNOWN;
#ifndef BREAK_NO_REAP
                reap();
#endif
                worker_lost() }
#ifndef BREAK_NO_REAP
        /* The sweep: a worker of Redis that nobody knows. */
        :: d_step { master && reg_worker[w] == READY && known[w] == UNKNOWN && process[w] == TOLD -> reap() }
#endif
        od
}

/* ---- one agent, as clients and master see it ---- */

inline begin_end() {
        ending[a] = true; end_asked[a] = true;
        unstored[a] = true;
        if
        :: place[a] != NOWHERE -> phase[a] = ENDING
        :: place[a] == NOWHERE && phase[a] == WAITING && uncertain[a] -> phase[a] = RESERVING; ask[a] = epoch[a]
        :: place[a] == NOWHERE && (phase[a] == RESERVING || phase[a] == RESTORING)
        :: else -> gone_for_good()
        fi
}

proctype agent(byte a)
{
        byte w;
end:    do
        :: d_step { master && !asked[a] -> asked[a] = true; epoch[a] = 1; phase[a] = WAITING; unstored[a] = true }
        :: d_step { master && unstored[a] ->
                unstored[a] = false;
                assert(row_epoch[a] <= epoch[a]);
                row[a] = (ending[a] || phase[a] == CLOSING -> ROW_TERMINATED : ROW_WANTED);
                row_epoch[a] = epoch[a];
                phase[a] = (phase[a] == STORING -> WAITING : phase[a]) }
        :: d_step { master && acked[a] && !promised[a] && !unstored[a] && !ending[a] ->
                assert(row[a] == ROW_WANTED && started[a]);
                promised[a] = true }
        :: d_step { master && phase[a] == CLOSING && !unstored[a] ->
                count_running(a);
                assert(n == 0 && row[a] == ROW_TERMINATED);
                end_promised[a] = true;
                phase[a] = NONE; epoch[a] = 0; ending[a] = false }
        :: d_step { master && ends && ACTIVE && !ending[a] -> ends--; begin_end() }
        :: d_step { master && restarts && !ending[a] && (phase[a] == RUNS || phase[a] == SENT) ->
                restarts--; acked[a] = false; phase[a] = WITHDRAWN }
        :: d_step { master && phase[a] == WAITING && !ask[a] && !answer[a] && FREE_SLOTS > 0 ->
                phase[a] = RESERVING; ask[a] = epoch[a] }
        :: d_step { master && phase[a] == WAITING && FREE_SLOTS <= 0 && !ANY_COMING && ANY_NEVER ->
                do
                :: process[i] == NEVER -> process[i] = ALIVE; known[i] = STARTING; obeys[i] = 1; break
                :: else -> i++
                od;
                i = 0 }
        :: d_step { ask[a] && OUTRUN(ask[a]) -> ask[a] = 0; answer[a] = FENCED }
        :: d_step { ask[a] && IN_PLACE(ask[a]) ->
                spawn[reg_place[a] * AGENTS + a] = spawn[reg_place[a] * AGENTS + a] | BIT(ask[a]);
                answer[a] = PLACED + reg_place[a]; ask[a] = 0 }
        :: d_step { ask[a] && UNPLACED(ask[a]) && !ANY_ROOM -> answer[a] = NO_SLOT; ask[a] = 0; reg_forget() }
        :: d_step { late[a] && (OUTRUN(late[a]) || IN_PLACE(late[a])) -> late[a] = 0; late_age[a] = 0 }
        :: d_step { master && (answer[a] == NO_SLOT || answer[a] == NO_ECHO || answer[a] == FENCED) ->
                if
                :: phase[a] == RESERVING && ending[a] && answer[a] != NO_ECHO -> gone_for_good()
                :: phase[a] == RESERVING && ((ending[a] && answer[a] == NO_ECHO) || (!ending[a] && answer[a] == FENCED)) ->
                        phase[a] = DELAYED
                :: phase[a] == RESERVING && !ending[a] && answer[a] != FENCED ->
                        uncertain[a] = (answer[a] == NO_ECHO -> true : uncertain[a]);
                        phase[a] = WAITING
                :: else
                fi;
                answer[a] = NO_ANSWER }
        :: d_step { master && phase[a] == DELAYED ->
                if
                :: ending[a] -> phase[a] = RESERVING; ask[a] = epoch[a]
                :: else -> place_again()
                fi }
        :: d_step { master && phase[a] == RESTORING && !ANY(IS_ADOPTED) ->
                if
                :: ending[a] -> gone_for_good()
                :: else -> place_again()
                fi }
        od
}

/* ---- the rest of the world ---- */

inline flush() {
        for (i : 0 .. WORKERS - 1) {
                reg_worker[i] = UNKNOWN
        }
        for (i : 0 .. AGENTS - 1) {
                reg_place[i] = NOWHERE; reg_epoch[i] = 0; reg_ending[i] = false; reg_age[i] = 0
        }
        for (i : 0 .. AGENTS * WORKERS - 1) {
                reg_ended[i] = 0
        }
        i = 0
}

/* Nothing more can happen: what should be is, exactly once, and all books say the same. */
inline judge() {
        assert(master);
        for (v : 0 .. AGENTS - 1) {
                count_running(v);
                assert(n == (row[v] == ROW_WANTED -> 1 : 0));
                assert(!(promised[v] && !end_asked[v]) || n == 1);
                assert(!end_promised[v] || n == 0);
                assert(n == 0 || (phase[v] == RUNS && !unstored[v] && epoch[v] == row_epoch[v]));
                assert(n == 0 || (host[place[v] * AGENTS + v] == RUNNING && host_epoch[place[v] * AGENTS + v] == epoch[v]));
                assert(n == 0 || (reg_place[v] == place[v] && reg_epoch[v] == epoch[v]));
                assert(n == 1 || (phase[v] == NONE && reg_place[v] == NOWHERE))
        }
        n = 0;
        v = 0
}

proctype world()
{
end:    do
        :: d_step { master && deaths -> deaths--; master_dies() }
        :: d_step { !master -> master_starts() }
        :: d_step { flushes -> flushes--; flush() }
        :: d_step { (crashes || hangs || exits || losses || mutes || flushes || deaths) ->  crashes = 0; hangs = 0; exits = 0; losses = 0; mutes = 0; flushes = 0; deaths = 0 }
        :: timeout -> d_step { judge() }; break
        od
}

init {
        byte w, a;
        atomic {
                for (w : 0 .. WORKERS - 1) {
                        run worker(w);
                        for (a : 0 .. AGENTS - 1) {
                                run link(w, a)
                        }
                }
                for (a : 0 .. AGENTS - 1) {
                        run agent(a)
                }
                run world()
        }
}
