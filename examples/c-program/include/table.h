#ifndef TABLE_H
#define TABLE_H

#include <stddef.h>

struct entry {
    char *word;
    unsigned long count;
};

struct table {
    struct entry *entries;
    size_t length;
    size_t capacity;
};

/* Adds one to the count of `word`. Ends the program when there is no memory. */
void table_add(struct table *table, const char *word);

/* Frequent words first, equally frequent ones by the alphabet. */
void table_sort(struct table *table);

void table_free(struct table *table);

#endif
