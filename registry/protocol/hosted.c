/* What a worker says that it hosts, as JSON: [[agent id, epoch, starting, start_reason], …] */
#include "registry/protocol/hosted.h"

#include "common/json/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *hosted_start_reason(const char *text)
{
        static const char *const reasons[] = { "spawn", "restart", "worker_exited", "restore", "rollout" };

        for (size_t i = 0; text && i < sizeof reasons / sizeof *reasons; i++)
                if (strcmp(text, reasons[i]) == 0)
                        return reasons[i];
        return NULL;
}

cJSON *hosted_print(const struct hosted_agent *hosted, size_t count)
{
        cJSON *list = cJSON_CreateArray();

        for (size_t i = 0; list && i < count; i++) {
                cJSON *item = cJSON_CreateArray();

                json_append(&item, cJSON_CreateString(ID_TEXT(&hosted[i].agent_id)));
                json_append(&item, cJSON_CreateNumber((double)hosted[i].epoch));
                json_append(&item, cJSON_CreateBool(hosted[i].starting));
                if (hosted[i].start_reason)
                        json_append(&item, cJSON_CreateString(hosted[i].start_reason));
                json_append(&list, item);
        }
        return list;
}

static int read_one(const cJSON *item, struct hosted_agent *ret_hosted)
{
        const char *id = cJSON_GetStringValue(cJSON_GetArrayItem(item, 0));
        int64_t epoch;

        if (!id || id_parse(id, &ret_hosted->agent_id) < 0 ||
                json_item_integer(cJSON_GetArrayItem(item, 1), &epoch) < 0 || epoch < 0)
                return -EINVAL;
        ret_hosted->epoch = (uint64_t)epoch;
        ret_hosted->starting = cJSON_IsTrue(cJSON_GetArrayItem(item, 2));
        ret_hosted->start_reason = hosted_start_reason(cJSON_GetStringValue(cJSON_GetArrayItem(item, 3)));
        return 0;
}

int hosted_read(const cJSON *list, struct hosted_agent **ret_hosted, size_t *ret_count)
{
        size_t max = cJSON_IsArray(list) ? (size_t)cJSON_GetArraySize(list) : SIZE_MAX, count = 0;
        struct hosted_agent *hosted;
        const cJSON *item;
        int r = 0;

        if (max > HOSTED_MAX)
                return -EINVAL;
        hosted = calloc(max + 1, sizeof *hosted);
        if (!hosted)
                return -ENOMEM;
        cJSON_ArrayForEach(item, list)
                r = r ? r : read_one(item, &hosted[count++]);
        if (r < 0) {
                free(hosted);
                return r;
        }
        *ret_hosted = hosted;
        *ret_count = count;
        return 0;
}
