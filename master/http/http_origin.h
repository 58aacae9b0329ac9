/* What browsers tell of the page that asks: its origin (RFC 6454), and the name that it took for this server (Host). Pure.
 * A page of another site may not ask; nor may one that had its own name lead to this machine (DNS rebinding). */
#ifndef MASTER_HTTP_HTTP_ORIGIN_H
#define MASTER_HTTP_HTTP_ORIGIN_H
#include <stdbool.h>

/* allowed: a list of origins as browsers write them, "*" for any. loopback: it came in by a listener that only this
 * machine reaches, so pages that this machine serves may ask, too. */
bool http_origin_is_allowed(const char *origin, char *const *allowed, bool loopback);
/* host: of the header, with its port or without. Allowed are numeric addresses, localhost, and the names in allowed. */
bool http_host_is_allowed(const char *host, char *const *allowed);
/* For -t: NULL, or why a browser never sends text as its Origin. */
const char *http_origin_flaw(const char *text);
#endif
