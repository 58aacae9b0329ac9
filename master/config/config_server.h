/* The rules over the server's settings: where it listens, with what, for whom. */
#ifndef MASTER_CONFIG_CONFIG_SERVER_H
#define MASTER_CONFIG_CONFIG_SERVER_H
#include "master/config/settings.h"

/* Adds what is wrong to *errors; reads the certificate and the tokens, which it keeps in config. 0 or -ENOMEM. */
int config_server_check(struct config *config, struct schema_errors *errors);
/* Those of the files that whoever this process is now cannot use: as config_server_check. */
int config_server_check_files(const struct config_server *server, struct tokens **ret_tokens, struct schema_errors *errors);
#endif
