/* What a pool's programs may know and others not: files in a directory that is this worker's and its user's alone, RUN_DIR/
 * credentials/PROCESS. One worker per process, so there is one of them. */
#ifndef WORKER_RUNTIME_CREDENTIALS_H
#define WORKER_RUNTIME_CREDENTIALS_H
#include "common/id.h"

#include <cjson/cJSON.h>
#include <stddef.h>

#define CREDENTIALS_MAX (64 * 1024) /* bytes of one file */
/* contents: {name: base64}, null what the master could not read. Removes what workers that are gone left of this user's. 0, or
 * -errno and the reason. */
int credentials_open(const char *run_dir, const struct id *process_id, const cJSON *contents, char *reason, size_t size);
const char *credentials_directory(void); /* NULL: there are none */
void credentials_close(void);
#endif
