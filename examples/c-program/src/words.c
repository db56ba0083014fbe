#include "words.h"

#include <ctype.h>
#include <stddef.h>

int next_word(FILE *file, char word[MAX_WORD_LENGTH + 1])
{
    size_t length = 0;
    int c;

    while ((c = getc(file)) != EOF) {
        if (isalpha(c)) {
            if (length < MAX_WORD_LENGTH)
                word[length++] = (char)tolower(c);
        } else if (length > 0) {
            break;
        }
    }
    word[length] = '\0';
    return length > 0;
}
