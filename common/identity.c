#include "common/identity.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool read_number(const char *text, id_t *ret_number)
{
        char *end;
        unsigned long number = strtoul(text, &end, 10);

        *ret_number = (id_t)number;
        return *text >= '0' && *text <= '9' && !*end && number < (id_t)-1;
}

#define ENTRY_SIZE 16384 /* of a line of the user or group database */

static int find_user(const char *user, struct identity *identity, char *reason, size_t size)
{
        bool number = user && read_number(user, &identity->uid);
        struct passwd place, *entry = NULL;
        char line[ENTRY_SIZE];

        if (!user) {
                identity->uid = geteuid();
                identity->gid = getegid();
        }
        if ((!user || number ? getpwuid_r(identity->uid, &place, line, sizeof line, &entry)
                             : getpwnam_r(user, &place, line, sizeof line, &entry)) != 0)
                entry = NULL; /* the database is broken: as if it were not in it */
        if (!entry && user && !number) {
                snprintf(reason, size, "there is no user \"%.64s\"; remedy: adduser --system --group %.64s", user, user);
                return -ENOENT;
        }
        if (!entry) { /* a number without a name has no groups */
                identity->gid = user ? (gid_t)identity->uid : identity->gid;
                return 0;
        }
        identity->uid = entry->pw_uid;
        identity->gid = entry->pw_gid;
        snprintf(identity->home, sizeof identity->home, "%s", entry->pw_dir);
        identity->group_count = IDENTITY_GROUPS_MAX;
        if (getgrouplist(entry->pw_name, entry->pw_gid, identity->groups, &identity->group_count) < 0)
                identity->group_count = IDENTITY_GROUPS_MAX;
        return 0;
}

int identity_find(const char *user, const char *group, struct identity *ret_identity, char *reason, size_t size)
{
        struct identity identity = { 0 };
        struct group place, *entry = NULL;
        char line[ENTRY_SIZE];
        int r = find_user(user, &identity, reason, size);

        if (r < 0)
                return r;
        if (group && !read_number(group, &identity.gid)) {
                if (getgrnam_r(group, &place, line, sizeof line, &entry) != 0 || !entry) {
                        snprintf(reason, size, "there is no group \"%.64s\"; remedy: addgroup --system %.64s", group, group);
                        return -ENOENT;
                }
                identity.gid = entry->gr_gid;
        }
        *ret_identity = identity;
        return 0;
}
