/* The database that a run_dir knows: its id beside where it was, in run_dir/database_id. An empty file or another database
 * there would silently lose every agent; a database.url that was changed on purpose is another matter. */
#ifndef MASTER_LIFE_KNOWN_DATABASE_H
#define MASTER_LIFE_KNOWN_DATABASE_H
#include "common/id.h"
#include "master/config/config.h"

/* The id of the database that was at this address; zero when none is known, or it was elsewhere. */
struct id known_database_read(const struct config *config);
/* What cannot be written is logged: then an emptied database would not be noticed. */
void known_database_write(const struct config *config, const struct id *id);
#endif
