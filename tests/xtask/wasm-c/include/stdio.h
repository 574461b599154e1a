#pragma once
#include <stdarg.h>
#include <stddef.h>
typedef struct _IO_FILE FILE;
extern FILE *const stderr;
#define stderr (stderr)
extern FILE *const stdout;
#define stdout (stdout)
#define EOF (-1)
int fclose(FILE *);
FILE *fdopen(int, const char *);
int fflush(FILE *);
int fprintf(FILE *__restrict, const char *__restrict, ...);
int fputc(int, FILE *);
int fputs(const char *__restrict, FILE *__restrict);
size_t fwrite(const void *__restrict, size_t, size_t, FILE *__restrict);
int printf(const char *__restrict, ...);
int snprintf(char *__restrict, size_t, const char *__restrict, ...);
int sprintf(char *__restrict, const char *__restrict, ...);
int vfprintf(FILE *__restrict, const char *__restrict, va_list);
int vsnprintf(char *__restrict, size_t, const char *__restrict, va_list);
