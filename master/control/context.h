/* What the parts of the master know of each other. Owned by master/life/master.c; every part borrows it. */
#ifndef MASTER_CONTROL_CONTEXT_H
#define MASTER_CONTROL_CONTEXT_H
#include "common/channel.h"
#include "common/id.h"
#include "master/config/config.h"
#include "master/control/admission.h"
#include "master/control/mode.h"
#include "registry/core/suspicion.h"

#include <event2/event.h>

struct auth;
struct control_loop;
struct degraded;
struct http_server;
struct messages;
struct pools;
struct registry;
struct store;
struct strays;
struct streams;
struct usages;
struct workers;

struct master {
        const struct config *config;
        struct event_base *base;
        struct channel *forker;
        struct registry *registry;
        struct store *store;
        struct auth *auth;         /* who may ask for what, how often */
        struct http_server *http;
        struct ssl_ctx_st *tls;    /* of the listeners that want it; NULL: none does, or the certificate is unusable */
        struct control_loop *control; /* what happens when: the forker's, the workers' and the clock's events */
        struct pools *pools;       /* pools and their rules */
        struct strays *strays;     /* agents whose pool is not configured */
        struct workers *workers;   /* control sockets */
        struct degraded *degraded; /* decides mode */
        struct mode mode;          /* whether Redis is used */
        struct streams *streams;   /* who listens to events */
        struct usages *usages;     /* what agents use, asked for */
        struct messages *messages; /* messages to agents that wait for their answer */
        struct id master_id;       /* of this run_dir, kept over restarts */
        char *redis_url, *redis_url_masked; /* effective: never "embedded:" */
        const char *cgroup;        /* <delegated>/agents; NULL: there is none */
        struct admission admission;
        struct suspicion suspicion; /* of itself, when workers are silent */
        char host[256];
        int64_t started_at;        /* wall ms */
        bool registry_up;          /* Redis answers */
        bool synced;               /* every worker from before this master is known */
        bool restoring;            /* what should exist is not known yet */
        bool can_roll_back;        /* there was a program before this one */
        int64_t upgraded_at;       /* wall ms: until then */
        bool closing;              /* TERM or INT came */
        bool fast;                 /* … and agents are ended at once */
        int64_t close_by;          /* mono ms: everything has ended by then */
};
#endif
