#include "master/forker/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MASK(cap) (UINT64_C(1) << (cap))
#define KEPT (MASK(CAP_SETUID) | MASK(CAP_SETGID) | MASK(CAP_KILL))

/* libcap would be a library for three calls. */
static int set_capabilities(uint64_t permitted, uint64_t inheritable)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2], current[2];

        for (unsigned i = 0; i < 2; i++)
                data[i] = (struct __user_cap_data_struct){ .effective = (uint32_t)(permitted >> (32 * i)),
                        .permitted = (uint32_t)(permitted >> (32 * i)), .inheritable = (uint32_t)(inheritable >> (32 * i)) };
        /* Nothing to change needs no right to change it: a service's filter may refuse capset. */
        if (syscall(SYS_capget, &header, current) == 0 && memcmp(current, data, sizeof data) == 0)
                return 0;
        return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

static uint64_t effective(void)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2] = { 0 };

        return syscall(SYS_capget, &header, data) < 0 ? 0 : data[0].effective | (uint64_t)data[1].effective << 32;
}

bool privileges_can_change(void)
{
        return (effective() & KEPT) == KEPT;
}

int privileges_forbid_new(void)
{
        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

/* Should it become root again by what is kept, that root can do no more than this. */
static void bound(uint64_t kept)
{
        for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
                if (!(kept & MASK(cap)))
                        prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
}

static int change(const struct identity *who, gid_t egid)
{
        if (setgroups((size_t)who->group_count, who->groups) < 0 || setresgid(who->gid, egid, egid) < 0 ||
                setresuid(who->uid, who->uid, who->uid) < 0)
                return -errno;
        return setenv("HOME", who->home[0] ? who->home : "/", 1) < 0 ? -errno : 0;
}

/* Whoever can come back has not gone. */
static int check_gone(const struct identity *who)
{
        if (effective() != 0 || (who->uid != 0 && (setresuid(0, 0, 0) == 0 || seteuid(0) == 0)))
                return -EPERM;
        return who->gid != 0 && who->uid != 0 && setegid(0) == 0 ? -EPERM : 0;
}

int privileges_drop(const struct identity *who, bool keep)
{
        int r = 0;

        if (who) {
                bound(keep ? KEPT : 0);
                r = prctl(PR_SET_KEEPCAPS, keep, 0, 0, 0) < 0 ? -errno : change(who, who->gid);
        }
        r = r ? r : set_capabilities(keep ? KEPT : 0, 0);
        return r < 0 || keep || !who ? r : check_gone(who);
}

int privileges_become(const struct identity *who, gid_t egid)
{
        pid_t parent = getppid();
        int r = change(who, egid);

        r = r ? r : set_capabilities(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGTERM); /* a change of user forgets it */
        if (getppid() != parent)
                return -ESRCH;
        return r ? r : check_gone(who);
}

int privileges_shed(void)
{
        return geteuid() == 0 ? 0 : set_capabilities(0, 0); /* root is as it was started */
}

int privileges_carry(bool carried)
{
        static const int kept[] = { CAP_SETUID, CAP_SETGID, CAP_KILL };
        int r;

        if (geteuid() == 0 || !privileges_can_change())
                return 0;
        r = set_capabilities(KEPT, carried ? KEPT : 0);
        for (size_t i = 0; r == 0 && carried && i < sizeof kept / sizeof *kept; i++)
                r = prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept[i], 0, 0) < 0 ? -errno : 0;
        return r;
}
