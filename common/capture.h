/* What one agent printed, kept in files of bounded size: DIRECTORY/AGENT.log and, older, DIRECTORY/AGENT.log.1. A worker
 * appends, the master reads; neither keeps a descriptor. */
#ifndef COMMON_CAPTURE_H
#define COMMON_CAPTURE_H
#include "common/id.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CAPTURE_PATH_MAX 4160

/* Returns path. */
char *capture_path(char path[CAPTURE_PATH_MAX], const char *directory, const struct id *agent_id, bool older);
/* One line with its time (wall ms). A file that has reached max_bytes becomes the older one first. 0 or -errno. */
int capture_append(const char *directory, int64_t max_bytes, const struct id *agent_id, int64_t at, const char *line, size_t len);
/* Removes files that were not written since before (wall ms). Returns how many. */
unsigned capture_prune(const char *directory, int64_t before);

/* How far a reader that follows has come. Zeroed: from the start of what is there. */
struct capture_position {
        uint64_t file;  /* which one; 0: none yet */
        int64_t offset; /* bytes */
};
/* The last lines, at most lines of them and 1 MiB, and where they begin; free(). 0, -ENOENT: nothing was kept; -errno. */
int capture_tail(const char *directory, const struct id *agent_id, unsigned lines, char **ret_text, size_t *ret_len,
        struct capture_position *ret_from);
/* What came since, up to size bytes of whole lines (a longer one in parts); over a change of files, too. Bytes read, 0: none. */
size_t capture_read(struct capture_position *position, const char *directory, const struct id *agent_id, char *buffer, size_t size);
#endif
