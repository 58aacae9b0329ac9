/* Named places where a test makes the real program die, stop, wait or fail. In test builds (make FAULTS=1) armed by
 * AGENTPOOL_FAULT="point=action[,point=action…]", action: kill | stop | hang | delay:MS | error:ERRNO_NAME, each with an
 * optional "@N" (only the Nth passage in this process, from 1). An invalid list aborts. While the daemon runs: a file
 * $AGENTPOOL_FAULT_DIR/<point> that holds an action; the next passage in any process takes the file away and is struck.
 * In other builds a point is nothing at all. */
#ifndef COMMON_FAULT_H
#define COMMON_FAULT_H

#ifdef AGENTPOOL_FAULTS
/* 0 or the -errno to fail with. */
int fault_point(const char *name);
#define FAULT_POINT(name) fault_point(name)
#else
#define FAULT_POINT(name) 0
#endif
#endif
