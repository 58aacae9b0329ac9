/* JSON objects bound to C structs by a table: one mechanism for configuration, request bodies and pool settings.
 * Reports every wrong field at once, by JSON pointer, with what would be right; unknown names with the nearest known. */
#ifndef COMMON_JSON_SCHEMA_H
#define COMMON_JSON_SCHEMA_H
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum schema_type {
        SCHEMA_STRING = 1, /* char *, owned; min/max are bytes */
        SCHEMA_NAME,       /* char *, owned; [A-Za-z0-9_.-], 1 to 64 bytes, begins with a letter or digit */
        SCHEMA_ID,         /* struct id; a UUID */
        SCHEMA_INTEGER,    /* int64_t; min/max are values */
        SCHEMA_NUMBER,     /* double; min/max are values */
        SCHEMA_BOOL,       /* bool */
        SCHEMA_ENUM,       /* int: index into .words plus 1, so that 0 stays "absent" */
        SCHEMA_STRINGS,    /* char **, NULL-terminated, owned; min/max are counts */
        SCHEMA_MAP,        /* cJSON *, owned: an object whose values are all strings; min/max are counts */
        SCHEMA_OBJECT,     /* nested: .fields read at base + offset (offset of an embedded struct) */
        SCHEMA_TREE,       /* cJSON *, owned duplicate: any value, judged by the caller */
};

struct schema_field {
        const char *name;
        enum schema_type type;
        size_t offset;
        bool required, nullable; /* nullable: null means as if absent */
        bool secret;             /* printed as "***" when set */
        double min, max;         /* both 0: no bound; max below min: no upper bound */
        const char *fallback;    /* JSON text of the default; NULL: zero */
        const char *const *words;             /* SCHEMA_ENUM: NULL-terminated */
        const struct schema_field *fields;    /* SCHEMA_OBJECT: ends with a NULL name */
};

#define SCHEMA_ERRORS_MAX 16
struct schema_error {
        char pointer[128]; /* RFC 6901 */
        char detail[256];  /* what is wrong and what would be right */
        bool rule;         /* the shape is right (name, JSON type), a bound or format is broken */
};
struct schema_errors {
        unsigned count; /* reported; those after SCHEMA_ERRORS_MAX are dropped */
        struct schema_error errors[SCHEMA_ERRORS_MAX];
};

/* Fills out (zeroed by the caller) from object; absent fields get their fallback. 0; -EINVAL with what is wrong added
 * to *errors (zeroed by the caller at first); -ENOMEM. After an error out holds nothing that needs freeing. prefix is
 * the pointer of object itself ("" at the top). A nested object that is absent gets its fields' fallbacks. */
int schema_read(const cJSON *object, const char *prefix, const struct schema_field *fields, void *out,
        struct schema_errors *errors);
/* The fallbacks alone. 0 or -ENOMEM; a wrong fallback is a bug (assert). */
int schema_defaults(const struct schema_field *fields, void *out);
/* The struct as JSON again, as schema_read takes it; what is not set (NULL, enum 0, zero id) is left out; secrets
 * masked when mask. NULL when out of memory. */
cJSON *schema_print(const struct schema_field *fields, const void *in, bool mask);
/* Frees what the fields own and zeroes them. */
void schema_done(const struct schema_field *fields, void *out);
/* Writes pointer + "/" + name, escaped, cut at the buffer; returns buffer. */
char *schema_pointer(const char *pointer, const char *name, char *buffer, size_t size);
#define SCHEMA_POINTER(pointer, name) schema_pointer((pointer), (name), (char[128]){ 0 }, 128)
/* Adds one error with a printf-made detail. */
void schema_fail(struct schema_errors *errors, const char *pointer, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
/* The candidate nearest to name by edit distance, or NULL when none is near. candidates ends with NULL. */
const char *schema_nearest(const char *name, const char *const *candidates);
#endif
