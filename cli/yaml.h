/* JSON values as YAML 1.2, for people. */
#ifndef CLI_YAML_H
#define CLI_YAML_H
#include <cjson/cJSON.h>

/* A number that has a valuestring is printed as that. */
void yaml_print(const cJSON *tree);
#endif
