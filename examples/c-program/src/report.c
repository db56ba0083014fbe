#include "report.h"

void report(const struct table *table, size_t limit, FILE *out)
{
    for (size_t i = 0; i < table->length && i < limit; i++)
        fprintf(out, "%4lu %s\n", table->entries[i].count, table->entries[i].word);
}
