/* Which kind of database a URL names. */
#ifndef SQL_STORE_URL_H
#define SQL_STORE_URL_H

/* What follows "postgresql://", as other programs write it, too ("postgres://", "postgresql+psycopg://"); NULL: another kind
 * of URL. */
const char *store_postgres_address(const char *url);
#endif
