#pragma once
#include <stddef.h>
typedef unsigned int wint_t;
