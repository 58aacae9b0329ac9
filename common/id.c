#include "common/id.h"

#include <errno.h>
#include <string.h>
#include <uuid/uuid.h>

struct id id_new(void)
{
        struct id id;

        uuid_generate_random(id.b);
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
