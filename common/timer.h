/* A timer of an event loop, embedded in what it serves: fires once, or every so often. A zeroed one counts as stopped. */
#ifndef COMMON_TIMER_H
#define COMMON_TIMER_H
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

typedef void timer_fn(void *arg);

struct timer {
        struct event event; /* not on any loop until timer_init */
        timer_fn *fn;
        void *arg;
        int64_t every_ms; /* 0: it fires once */
};

/* Stopped. It must not be moved in memory from here to timer_stop; base must live as long. */
void timer_init(struct timer *timer, struct event_base *base, timer_fn *fn, void *arg);
/* Arms it anew, whatever it was doing. What is not in the future is on the loop's next turn. 0 or -ENOMEM: then it is stopped. */
int timer_once(struct timer *timer, int64_t in_ms);
int timer_at(struct timer *timer, int64_t mono_ms); /* the same by common/clock.h; INT64_MAX: stops it */
int timer_every(struct timer *timer, int64_t every_ms); /* the first time after as long; 1 ms at least */
/* Fires in this turn of the loop, after the events that are already due, and in place of what it was armed for. */
void timer_now(struct timer *timer);
void timer_stop(struct timer *timer);
bool timer_armed(const struct timer *timer);
/* For what takes a timeval: ms below 0 count as 0. */
struct timeval timer_interval(int64_t ms);
#endif
