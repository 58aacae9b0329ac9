/* A timer as a libevent event without a descriptor. */
#include "common/timer.h"

#include "common/clock.h"

#include <errno.h>

struct timeval timer_interval(int64_t ms)
{
        if (ms < 0)
                ms = 0;
        return (struct timeval){ .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
}

static int arm(struct timer *timer, int64_t in_ms)
{
        struct timeval tv = timer_interval(in_ms);

        if (event_add(&timer->event, &tv) == 0)
                return 0;
        timer_stop(timer);
        return -ENOMEM;
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
        struct timer *timer = arg;

        (void)fd;
        (void)what;
        /* Not EV_PERSIST: libevent would fire as often as was missed while the machine slept. */
        if (timer->every_ms > 0)
                (void)arm(timer, timer->every_ms);
        timer->fn(timer->arg); /* may free what the timer is a part of */
}

void timer_init(struct timer *timer, struct event_base *base, timer_fn *fn, void *arg)
{
        timer->fn = fn;
        timer->arg = arg;
        timer->every_ms = 0;
        event_assign(&timer->event, base, -1, 0, on_timeout, timer);
}

int timer_once(struct timer *timer, int64_t in_ms)
{
        timer->every_ms = 0;
        return arm(timer, in_ms);
}

int timer_at(struct timer *timer, int64_t mono_ms)
{
        if (mono_ms != INT64_MAX)
                return timer_once(timer, mono_ms - clock_mono_ms());
        timer_stop(timer);
        return 0;
}

int timer_every(struct timer *timer, int64_t every_ms)
{
        timer->every_ms = every_ms > 0 ? every_ms : 1;
        return arm(timer, timer->every_ms);
}

void timer_now(struct timer *timer)
{
        event_active(&timer->event, EV_TIMEOUT, 1);
}

void timer_stop(struct timer *timer)
{
        timer->every_ms = 0;
        if (timer->fn)
                event_del(&timer->event);
}

bool timer_armed(const struct timer *timer)
{
        return timer->fn && evtimer_pending(&timer->event, NULL);
}
