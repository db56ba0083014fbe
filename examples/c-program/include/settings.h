#ifndef SETTINGS_H
#define SETTINGS_H

/* Longer words are cut off here. */
#define MAX_WORD_LENGTH 32

#endif
