#include "common/human_name.h"

#include <stdio.h>

#define NAMES 64 /* a power of two, so that every name is equally likely */

static const char *const first_names[NAMES] = {
        "Ada", "Adele", "Alan", "Alonzo", "Amir", "Anita", "Annie", "Barbara", "Betty", "Brian", "Carol", "Charles",
        "Claude", "Cynthia", "Dana", "Dennis", "Donald", "Dorothy", "Edith", "Edsger", "Emmy", "Erna", "Evelyn",
        "Frances", "Gerda", "Grace", "Hedy", "Hugo", "Ida", "Ivan", "Jean", "Joan", "John", "Karen", "Kathleen", "Ken",
        "Konrad", "Leslie", "Lois", "Lynn", "Marlyn", "Margaret", "Mary", "Maurice", "Mavis", "Niklaus", "Noor", "Olga",
        "Peter", "Radia", "Ravi", "Robin", "Rosa", "Ruth", "Shafi", "Sophie", "Stella", "Thelma", "Tony", "Vera",
        "Vint", "Wanda", "Yuki", "Zoe",
};
static const char *const last_names[NAMES] = {
        "Abbott", "Aiken", "Allard", "Archer", "Babbage", "Baker", "Bartik", "Becker", "Bell", "Bennett", "Borg",
        "Carter", "Church", "Clarke", "Conway", "Curie", "Dahl", "Dijkstra", "Eckert", "Estrin", "Floyd", "Franklin",
        "Galois", "Goldberg", "Hamming", "Hart", "Hoare", "Holberton", "Hopper", "Ito", "Iverson", "Johnson", "Kahn",
        "Keller", "Kilburn", "Knight", "Lamarr", "Lamport", "Liskov", "Lovelace", "McCarthy", "Meyer", "Milner",
        "Moore", "Naur", "Neumann", "Noether", "Nygaard", "Okafor", "Perlis", "Perlman", "Quinn", "Ritchie", "Rivest",
        "Sammet", "Shannon", "Spark", "Tarjan", "Turing", "Ulam", "Wilkes", "Wirth", "Yao", "Zuse",
};

char *human_name(const struct id *id, char *buffer, size_t size)
{
        snprintf(buffer, size, "%s %s", first_names[id->b[0] % NAMES], last_names[id->b[15] % NAMES]);
        return buffer;
}
