/* GET /openapi.json: the contract, as it stands in etc/openapi.json. */
#include "common/embed.h"
#include "master/api/api.h"

EMBED(openapi, "etc/openapi.json");

void api_openapi(struct http_request *request, void *arg)
{
        (void)arg;
        /* cppcheck-suppress comparePointers */
        http_answer(request, 200, "application/json", openapi, EMBED_SIZE(openapi));
}
