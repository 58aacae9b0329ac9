#include "common/id.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>

struct id id_new(void)
{
        struct id id;

        /* uuid_generate_random asks for the process and user ids besides: five system calls for each id. */
        arc4random_buf(id.b, sizeof id.b);
        id.b[6] = (uint8_t)((id.b[6] & 0x0f) | 0x40); /* version 4 */
        id.b[8] = (uint8_t)((id.b[8] & 0x3f) | 0x80); /* the variant of RFC 9562 */
        return id;
}

int id_parse(const char *text, struct id *ret_id)
{
        struct id id;

        /* uuid_parse reads exactly 36 characters and refuses any other length. */
        if (uuid_parse(text, id.b) < 0)
                return -EINVAL;
        *ret_id = id;
        return 0;
}

char *id_format(const struct id *id, char text[ID_TEXT_SIZE])
{
        static const char digits[] = "0123456789abcdef";
        char *p = text;

        for (unsigned i = 0; i < sizeof id->b; i++) {
                if (i == 4 || i == 6 || i == 8 || i == 10)
                        *p++ = '-';
                *p++ = digits[id->b[i] >> 4];
                *p++ = digits[id->b[i] & 15];
        }
        *p = '\0';
        return text;
}

bool id_equal(const struct id *a, const struct id *b)
{
        return memcmp(a->b, b->b, sizeof a->b) == 0;
}

bool id_is_zero(const struct id *id)
{
        static const struct id zero;

        return id_equal(id, &zero);
}
