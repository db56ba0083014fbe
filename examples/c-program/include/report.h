#ifndef REPORT_H
#define REPORT_H

#include <stdio.h>

#include "table.h"

/* Prints at most `limit` lines: count, then word. */
void report(const struct table *table, size_t limit, FILE *out);

#endif
