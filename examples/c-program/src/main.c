#include <stdio.h>

#include "report.h"
#include "table.h"
#include "words.h"

int main(int argc, char **argv)
{
    struct table table = {0};
    char word[MAX_WORD_LENGTH + 1];

    if (argc != 2) {
        fprintf(stderr, "usage: %s FILE\n", argv[0]);
        return 2;
    }
    FILE *file = fopen(argv[1], "r");
    if (file == NULL) {
        perror(argv[1]);
        return 1;
    }
    while (next_word(file, word))
        table_add(&table, word);
    fclose(file);
    table_sort(&table);
    report(&table, 10, stdout);
    table_free(&table);
    return 0;
}
