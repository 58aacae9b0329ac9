#include "master/control/begun.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIME_DIGITS 20
#define ENTRY (TIME_DIGITS + 1 + ID_TEXT_SIZE) /* the NUL is a blank in between */

void begun_leave(struct http_request *request, size_t count, struct begun (*tell)(const void *arg, size_t index), const void *arg)
{
        char *note = malloc(count * ENTRY + 1), *to = note;

        if (!note)
                return;
        for (size_t i = 0; i < count; i++) {
                struct begun begun = tell(arg, i);

                to += sprintf(to, "%0*lld %s ", TIME_DIGITS, (long long)begun.answer_by, ID_TEXT(&begun.agent_id));
        }
        http_request_leave_note(request, note);
        free(note);
}

bool begun_read(const struct http_request *request, size_t index, struct begun *ret_begun)
{
        const char *note = http_request_note(request);
        char id[ID_TEXT_SIZE];

        if (!note || strlen(note) < (index + 1) * ENTRY)
                return false;
        note += index * ENTRY;
        ret_begun->answer_by = strtoll(note, NULL, 10);
        memcpy(id, note + TIME_DIGITS + 1, ID_TEXT_SIZE - 1);
        id[ID_TEXT_SIZE - 1] = '\0';
        return id_parse(id, &ret_begun->agent_id) == 0 && !id_is_zero(&ret_begun->agent_id);
}
