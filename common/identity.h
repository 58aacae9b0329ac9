/* A user of this machine with the groups that go with it. */
#ifndef COMMON_IDENTITY_H
#define COMMON_IDENTITY_H
#include <stddef.h>
#include <sys/types.h>

#define IDENTITY_GROUPS_MAX 64

struct identity {
        uid_t uid;
        gid_t gid;
        gid_t groups[IDENTITY_GROUPS_MAX]; /* supplementary */
        int group_count;
        char home[256];                    /* "" when nothing says */
};

/* Of names or numbers (a number without a name has itself as its group, unless group says another); user NULL: who this
 * process is. group NULL: that of user. 0, or -ENOENT with reason. */
int identity_find(const char *user, const char *group, struct identity *ret_identity, char *reason, size_t size);
#endif
