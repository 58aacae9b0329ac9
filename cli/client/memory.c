/* Ends the command when memory is out. */
#include "cli/client/memory.h"

#include <stdio.h>
#include <stdlib.h>

void memory_exhausted(void)
{
        fprintf(stderr, "agentpool: out of memory\n");
        exit(EXIT_FAILURE);
}

void *memory_need(void *memory)
{
        if (!memory)
                memory_exhausted();
        return memory;
}
