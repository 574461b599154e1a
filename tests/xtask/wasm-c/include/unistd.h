#pragma once
#include <stddef.h>
int close(int);
int dup(int);
