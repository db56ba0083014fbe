#ifndef WORDS_H
#define WORDS_H

#include <stdio.h>

#include "settings.h"

/* Reads the next word, in lower case, into `word`. Returns 0 at the end of the file. */
int next_word(FILE *file, char word[MAX_WORD_LENGTH + 1]);

#endif
