/* A new master takes over: who decides, who answers, who lets clients in, when masters retire one after the other, are killed
 * at any moment, or are not waited for any longer. The rules are those of master/life/life_retire.c, master/life/handover.c,
 * master/control/messages.c and master/forker/forker*.c, with time left out. scripts/model runs it; each BREAK_… takes one rule away, and must
 * be found out. A step is left out when it would change nothing, so each run comes to its end: there, everything that was
 * promised has to be true. */
#ifndef MASTERS  /* that can ever be forked; each process id is used once */
#define MASTERS 3
#endif
#ifndef LIMIT    /* of masters that are retired at a time */
#define LIMIT 1
#endif
#ifndef REQUESTS
#define REQUESTS 1
#endif
#ifndef TLS      /* 1 << request: its connection cannot move */
#define TLS 0
#endif
#ifndef FIXED    /* 1 << request: only the master that began it can answer it */
#define FIXED 0
#endif
/* How often each signal may come, and each fault may strike. */
#ifndef HUPS
#define HUPS 1
#endif
#ifndef USR2S
#define USR2S 0
#endif
#ifndef KILLS    /* of any master */
#define KILLS 0
#endif
#ifndef BUDGETS  /* shutdown_timeout is over while a master finishes */
#define BUDGETS 0
#endif
#ifndef LATES    /* the forker waits no longer for one that hands over to another program */
#define LATES 0
#endif

#define NOBODY 255
#define BIT(x) (1 << (x))

/* Masters. */
#define NEVER 0
#define LOADING 1
#define SERVING 2
#define FINISHING 3
#define HEARING 4
#define RELEASED 5                        /* it has let go of everything … */
#define RETIRED 6                         /* … and has said so */
#define DYING 7                           /* its link has ended; what it wrote last may still be on its way */
#define GONE 8                            /* reaped */
byte state[MASTERS];
bool holds[MASTERS];                      /* control sockets, registry and store are open: it decides */
bool door[MASTERS], opened[MASTERS];      /* it accepts clients; it ever did */
bool signalled[MASTERS], cut[MASTERS];    /* on its link: HUP or USR2; its end */
bool said[MASTERS];                       /* RETIRE, unread by the forker */
bool subscribed[MASTERS], settled[MASTERS], relieved[MASTERS]; /* relieved: the next one lets clients in */
byte owed[MASTERS], unlisted[MASTERS], sinks[MASTERS]; /* sets of those before it: to be told of, told of, read from */

/* The forker. */
byte current = NOBODY, next, retired, count;
bool due = true, upgrading, hup_waits, usr2_waits;

/* Requests, with the connections that they came by. */
#define COMING 0
#define HERE 1                            /* complete, not begun */
#define BEGUN 2
#define QUEUED 3                          /* given away by the retired one at .where */
#define HALF 4                            /* the one at .reader has begun to read it */
#define DONE 5
#define CUT 6
byte step[REQUESTS], where[REQUESTS] = NOBODY, reader[REQUESTS] = NOBODY, relay[REQUESTS] = NOBODY;
bool begun[REQUESTS], excused[REQUESTS];  /* excused: a death or a time-out cost it its answer */
byte sent[REQUESTS], answers[REQUESTS];   /* how often it was done, and answered */
/* What its agent answered. */
#define NONE 0
#define PUBLISHED 1                       /* on its way through Redis to .inbox */
#define WAITS 2                           /* in a control socket, for whoever has that */
#define EARLY 3                           /* kept by .inbox, which has no such request yet */
#define LOST 4
byte answer[REQUESTS], inbox[REQUESTS] = NOBODY;

byte hups = HUPS, usr2s = USR2S, kills = KILLS, budgets = BUDGETS, lates = LATES;
bool struck;                              /* a master ended that had not retired */
byte i;                                   /* scratch of one step; always 0 between two */

#define ALIVE(m) (state[m] != NEVER && state[m] != DYING && state[m] != GONE)
#define IS_TLS(r) (TLS & BIT(r))
#define IS_FIXED(r) (FIXED & BIT(r))
#if MASTERS == 2
#define ANY(F) (F(0) || F(1))
#elif MASTERS == 3
#define ANY(F) (F(0) || F(1) || F(2))
#elif MASTERS == 4
#define ANY(F) (F(0) || F(1) || F(2) || F(3))
#elif MASTERS == 5
#define ANY(F) (F(0) || F(1) || F(2) || F(3) || F(4))
#endif
#if REQUESTS == 1
#define SOME(F) F(0)
#elif REQUESTS == 2
#define SOME(F) (F(0) || F(1))
#endif
#define HOLDS(m) holds[m]
#define DOOR(m) (door[m] && ALIVE(m))
#define DECIDES ANY(HOLDS)

/* ---- deaths ---- */

inline lose(r) { /* nobody has its connection any more */
        if
        :: step[r] == DONE || step[r] == CUT || step[r] == COMING
        :: else -> step[r] = CUT; excused[r] = true
        fi
}

inline dies(m) {
        state[m] = DYING;
        door[m] = false; subscribed[m] = false; signalled[m] = false; sinks[m] = 0; unlisted[m] = 0; owed[m] = 0;
        for (i : 0 .. REQUESTS - 1) {
                if
                :: relay[i] == m || (step[i] == HALF && where[i] == m) -> lose(i)
                :: relay[i] != m && (where[i] == m || (step[i] == HALF && reader[i] == m)) && step[i] != QUEUED ->
                        if
                        :: relay[i] != NOBODY && ALIVE(relay[i]) && (step[i] == HERE || step[i] == BEGUN || step[i] == HALF) ->
                                step[i] = DONE; answers[i] = answers[i] + 1; excused[i] = true /* a 503 */
                        :: else -> lose(i)
                        fi
                :: step[i] == QUEUED && where[i] == m -> lose(i)
                :: else
                fi;
                if
                :: (answer[i] == PUBLISHED || answer[i] == EARLY) && inbox[i] == m -> answer[i] = LOST; excused[i] = true
                :: else
                fi
        }
        i = 0
}

/* ---- the forker ---- */

#define FULL (count == LIMIT)

inline hup() {
        if
#ifndef BREAK_NO_LIMIT
        :: FULL -> hup_waits = true
        :: !FULL && current != NOBODY ->
#else
        :: current != NOBODY ->
#endif
                signalled[current] = true
#ifdef BREAK_FORK_AT_SIGNAL
                ; retired = retired | BIT(current); count++; current = NOBODY; due = true
#endif
        :: else /* the next one reads the file anyhow */
        fi
}

/* Without the master that is there: it sees its link end. */
inline exec_now() {
        upgrading = false;
        if
        :: current != NOBODY ->
                struck = true;
                cut[current] = true; said[current] = false;
                for (i : 0 .. REQUESTS - 1) {
                        excused[i] = (where[i] == current || inbox[i] == current || relay[i] == current -> true : excused[i])
                }
                i = 0
        :: else
        fi
}

inline usr2() {
        if
        :: upgrading
        :: !upgrading && FULL -> usr2_waits = true
        :: !upgrading && !FULL && current != NOBODY && state[current] >= SERVING && ALIVE(current) ->
                signalled[current] = true; upgrading = true
        :: else -> exec_now()
        fi
}

inline ended(m) { /* it was reaped */
        if
        :: m == current -> current = NOBODY; due = true; upgrading = false
#ifdef BREAK_LATE_RETIRE
                ;
                if
                :: said[m] -> retired = retired | BIT(m); count++
                :: else
                fi
#endif
        :: m != current && (retired & BIT(m)) ->
                retired = retired & ~BIT(m); count--;
#ifndef BREAK_WAIT_FOR_EVER
                if
                :: hup_waits -> hup_waits = false; hup()
                :: else
                fi;
                if
                :: usr2_waits -> usr2_waits = false; usr2()
                :: else
                fi
#endif
        :: else
        fi;
        said[m] = false
}

proctype forker()
{
end:    do
        :: d_step { due ->
                assert(next < MASTERS);   /* else the bounds of this run are too small to say anything */
                assert(!DECIDES);         /* never two that decide */
                due = false; current = next; next++;
                state[current] = LOADING; holds[current] = true;
#ifdef BREAK_TELL_LAST_ONLY
                owed[current] = (current && (retired & BIT(current - 1)) -> BIT(current - 1) : 0)
#else
                owed[current] = retired
#endif
                }
        :: d_step { current != NOBODY && said[current] ->
                said[current] = false;
                retired = retired | BIT(current); count++;
                assert(count <= LIMIT);
                current = NOBODY; due = true; upgrading = false }
#ifdef BREAK_NO_REAP_WAIT
        :: d_step { current != NOBODY && state[current] == DYING -> retired = retired | BIT(current); count++; current = NOBODY; due = true }
#endif
        :: d_step { hups -> hups--; hup() }
        :: d_step { usr2s -> usr2s--; usr2() }
        :: d_step { upgrading && lates -> lates--; exec_now() }
        od
}

/* ---- one master ---- */

inline let_go(m) {
        state[m] = (said[m] -> RETIRED : RELEASED);
        holds[m] = false; subscribed[m] = false; signalled[m] = false; sinks[m] = 0; unlisted[m] = 0; owed[m] = 0;
        for (i : 0 .. REQUESTS - 1) {
                if
                :: step[i] == HALF && reader[i] == m -> step[i] = CUT
                :: where[i] == m && (step[i] == HERE || step[i] == BEGUN) ->
                        if
#ifndef BREAK_BEGIN_TWICE
                        :: step[i] == BEGUN && IS_FIXED(i) ->
                                answers[i] = answers[i] + 1; step[i] = DONE; excused[i] = true /* a 503 */
#endif
                        :: else -> step[i] = QUEUED
                        fi
                :: else
                fi;
                answer[i] = ((answer[i] == PUBLISHED || answer[i] == EARLY) && inbox[i] == m -> LOST : answer[i])
        }
        i = 0
}

#define UNFINISHED(r) (where[r] == m && step[r] == BEGUN && IS_FIXED(r))
#define IN_HALF(r) (step[r] == HALF && reader[r] == m)
#define UNHEARD(r) (answer[r] == PUBLISHED && inbox[r] == m)
#define CARRIED(r) ((where[r] == m && (step[r] == HERE || step[r] == QUEUED || step[r] == HALF)) || \
        (relay[r] == m && step[r] != DONE && step[r] != CUT))
#ifdef BREAK_UNLISTED
#define ALL_IS_LISTED true
#else
#define ALL_IS_LISTED (unlisted[m] == 0)
#endif
#ifdef BREAK_RETIRE_AMID
#define READS_NONE true
#else
#define READS_NONE !SOME(IN_HALF)
#endif

/* What a master does about the one before it that is retired, o. */
#define ABOUT(o) \
        :: d_step { ALIVE(m) && holds[m] && (owed[m] & BIT(o)) -> \
                owed[m] = owed[m] & ~BIT(o); \
                unlisted[m] = (ALIVE(o) -> unlisted[m] | BIT(o) : unlisted[m]) } \
        :: d_step { ALIVE(m) && holds[m] && opened[m] && (unlisted[m] & BIT(o)) && !(sinks[m] & BIT(o)) -> \
                sinks[m] = sinks[m] | BIT(o); relieved[o] = true } \
        :: d_step { ALIVE(m) && holds[m] && (unlisted[m] & BIT(o)) && (!ALIVE(o) || ((sinks[m] & BIT(o)) && IS_LISTED(o))) -> \
                unlisted[m] = unlisted[m] & ~BIT(o) }
#if REQUESTS == 1
#define IS_LISTED(o) (!LEFT(o, 0))
#else
#define IS_LISTED(o) (!LEFT(o, 0) && !LEFT(o, 1))
#endif
#define LEFT(o, r) (where[r] == o && (step[r] == HALF || step[r] == QUEUED) && begun[r])

#ifdef BREAK_SIGNAL_FIRST
#define TOLD_FIRST true
#else
#define TOLD_FIRST (owed[m] == 0)
#endif

#define SAYS_RETIRE ((state[m] == RELEASED || EARLY_RETIRE) && !cut[m])
#ifdef BREAK_RETIRE_EARLY
#define EARLY_RETIRE (state[m] == HEARING && !said[m] && m == current)
#else
#define EARLY_RETIRE false
#endif

proctype master(byte m)
{
end:    do
        :: d_step { state[m] == LOADING || (state[m] == FINISHING && !opened[m]) ->
                state[m] = (state[m] == LOADING -> SERVING : state[m]);
                door[m] = true; opened[m] = true }
        :: d_step { (state[m] == LOADING || state[m] == SERVING) && !subscribed[m] -> subscribed[m] = true }
        ABOUT(0)
        ABOUT(1)
#if MASTERS > 3
        ABOUT(2)
#endif
#if MASTERS > 4
        ABOUT(3)
#endif
#ifdef BREAK_SETTLE_SOON
        :: d_step { ALIVE(m) && holds[m] && opened[m] && owed[m] == 0 && !settled[m] -> settled[m] = true }
#else
        :: d_step { ALIVE(m) && holds[m] && opened[m] && owed[m] == 0 && unlisted[m] == 0 && !settled[m] -> settled[m] = true }
#endif
        :: d_step { signalled[m] && TOLD_FIRST && (state[m] == LOADING || state[m] == SERVING) -> signalled[m] = false; state[m] = FINISHING }
        :: d_step { state[m] == FINISHING && ALL_IS_LISTED && !SOME(UNFINISHED) -> state[m] = HEARING }
        :: d_step { state[m] == FINISHING && ALL_IS_LISTED && SOME(UNFINISHED) && budgets -> budgets--; state[m] = HEARING }
#ifdef BREAK_NOT_HEARD_OUT
        :: d_step { state[m] == HEARING && READS_NONE -> let_go(m) }
#else
        :: d_step { state[m] == HEARING && subscribed[m] -> subscribed[m] = false }
        :: d_step { state[m] == HEARING && !subscribed[m] && !SOME(UNHEARD) && READS_NONE -> let_go(m) }
#endif
        :: d_step { SAYS_RETIRE -> said[m] = true; state[m] = (state[m] == RELEASED -> RETIRED : state[m]) }
#ifdef BREAK_CLOSE_DOORS
        :: d_step { (state[m] == RETIRED || state[m] == RELEASED) && door[m] ->
#else
        :: d_step { (state[m] == RETIRED || state[m] == RELEASED) && relieved[m] && door[m] ->
#endif
                door[m] = false;
                assert(struck || ANY(DOOR)) } /* somebody lets clients in at any moment */
        :: d_step { state[m] == RETIRED && relieved[m] && !door[m] && !SOME(CARRIED) -> dies(m) }
        :: d_step { ALIVE(m) && cut[m] -> dies(m) }
        :: d_step { ALIVE(m) && kills -> kills--; struck = true; dies(m) }
        :: d_step { state[m] == DYING -> state[m] = GONE; holds[m] = false; ended(m) }
        od
}

/* ---- one request ---- */

inline give_answer() {
        answers[r] = answers[r] + 1;
        assert(answers[r] == 1);
        step[r] = DONE
}

inline hear(m) { /* what its agent answered has come to m */
        if
        :: step[r] == BEGUN && where[r] == m -> give_answer()
#ifndef BREAK_NOT_KEPT
        :: !(step[r] == BEGUN && where[r] == m) && !settled[m] -> answer[r] = EARLY; inbox[r] = m
#endif
        :: else -> answer[r] = LOST
        fi
}

inline begin() {
        step[r] = BEGUN; begun[r] = true;
        sent[r] = sent[r] + 1;
        assert(sent[r] == 1)              /* nothing is done twice */
}

inline take_over() { /* m has read it whole */
        relay[r] = (IS_TLS(r) && relay[r] == NOBODY -> where[r] : relay[r]);
        where[r] = reader[r]; reader[r] = NOBODY;
        step[r] = HERE;
        if
#ifndef BREAK_NO_NOTE
        :: begun[r] && !IS_FIXED(r) ->
                step[r] = BEGUN;
                if
                :: answer[r] == EARLY && inbox[r] == where[r] -> give_answer()
                :: else
                fi
#endif
        :: else
        fi
}

#define AT(m) \
        :: d_step { step[r] == COMING && DOOR(m) -> step[r] = HERE; where[r] = m } \
        :: d_step { step[r] == HERE && where[r] == m && (state[m] == SERVING || (state[m] == FINISHING && !IS_FIXED(r))) -> begin() } \
        :: d_step { step[r] == HERE && where[r] == m && (state[m] == RELEASED || state[m] == RETIRED) -> step[r] = QUEUED } \
        :: d_step { step[r] == BEGUN && where[r] == m && IS_FIXED(r) && ALIVE(m) && holds[m] -> give_answer() } \
        :: d_step { step[r] == QUEUED && ALIVE(m) && (sinks[m] & BIT(where[r])) -> step[r] = HALF; reader[r] = m } \
        :: d_step { answer[r] == NONE && sent[r] && !IS_FIXED(r) && subscribed[m] -> answer[r] = PUBLISHED; inbox[r] = m } \
        :: d_step { answer[r] == PUBLISHED && inbox[r] == m && ALIVE(m) && holds[m] -> hear(m) } \
        :: d_step { answer[r] == WAITS && ALIVE(m) && holds[m] -> hear(m) }
#define SUBSCRIBED(m) subscribed[m]

proctype request(byte r)
{
end:    do
        AT(0)
        AT(1)
#if MASTERS > 2
        AT(2)
#endif
#if MASTERS > 3
        AT(3)
#endif
#if MASTERS > 4
        AT(4)
#endif
        :: d_step { step[r] == HALF -> take_over() }
        :: d_step { answer[r] == NONE && sent[r] && !IS_FIXED(r) && !ANY(SUBSCRIBED) -> answer[r] = WAITS }
        /* Its deadline: what a dead master had heard comes from nowhere else. */
        :: d_step { step[r] == BEGUN && answer[r] == LOST && excused[r] && holds[where[r]] -> give_answer() }
        od
}

/* Nothing more can happen: one master decides and serves, nothing waits, every request has its one answer. */
inline judge() {
        assert(current != NOBODY && state[current] == SERVING && holds[current] && door[current] && !signalled[current]);
        assert(retired == 0 && count == 0 && !due && !upgrading && !hup_waits && !usr2_waits);
        for (i : 0 .. REQUESTS - 1) {
                assert((step[i] == DONE && answers[i] == 1) || (step[i] == CUT && excused[i]));
                assert(sent[i] <= 1)
        }
        i = 0
}

init {
        atomic {
                run forker();
                for (i : 0 .. MASTERS - 1) { run master(i) }
                for (i : 0 .. REQUESTS - 1) { run request(i) }
                i = 0
        }
        do
        :: d_step { hups || usr2s || kills || budgets || lates -> hups = 0; usr2s = 0; kills = 0; budgets = 0; lates = 0 }
        :: timeout -> d_step { judge() }; break
        od
}
