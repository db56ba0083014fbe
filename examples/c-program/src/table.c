#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *memory)
{
    if (memory == NULL) {
        fputs("wordcount: out of memory\n", stderr);
        exit(2);
    }
    return memory;
}

void table_add(struct table *table, const char *word)
{
    for (size_t i = 0; i < table->length; i++) {
        if (strcmp(table->entries[i].word, word) == 0) {
            table->entries[i].count++;
            return;
        }
    }
    if (table->length == table->capacity) {
        table->capacity = table->capacity ? 2 * table->capacity : 64;
        table->entries = checked(realloc(table->entries, table->capacity * sizeof *table->entries));
    }
    size_t size = strlen(word) + 1;
    char *copy = checked(malloc(size));
    memcpy(copy, word, size);
    table->entries[table->length++] = (struct entry){.word = copy, .count = 1};
}

static int compare(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;

    if (a->count != b->count)
        return a->count < b->count ? 1 : -1;
    return strcmp(a->word, b->word);
}

void table_sort(struct table *table)
{
    if (table->length > 1)
        qsort(table->entries, table->length, sizeof *table->entries, compare);
}

void table_free(struct table *table)
{
    for (size_t i = 0; i < table->length; i++)
        free(table->entries[i].word);
    free(table->entries);
    *table = (struct table){0};
}
