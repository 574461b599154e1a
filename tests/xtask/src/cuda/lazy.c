/* A library of NVIDIA's that is opened by the first call of one of its functions, so that a program
 * which was linked to it starts where it is not. cuda/lazy.rs puts `LIBRARY`, `FILES`, `MISSING`,
 * `NAMES` and, below, a `lazy` for each function in front; a function that is not to be had returns
 * `MISSING`, a status of that library. */

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define TABLE JOIN(lazy_table_, LIBRARY)
#define FIND JOIN(lazy_find_, LIBRARY)
#define GO JOIN(lazy_go_, LIBRARY)

static const char *const files[] = {FILES};
static const char *const names[] = {NAMES};

__attribute__((visibility("hidden"))) void *TABLE[sizeof names / sizeof *names];

static int missing(void) { return MISSING; }

static void *opened(void) {
    static void *library;
    static int tried;
    if (!tried) {
        for (size_t i = 0; !library && i < sizeof files / sizeof *files; i++) {
            library = dlopen(files[i], RTLD_NOW | RTLD_LOCAL);
        }
        /* A machine without the driver is none for CUDA; one that has it should hear what it lacks. */
        if (!library && MISSING != 100) {
            fprintf(stderr, "warning: %s\n", dlerror());
        }
        tried = 1;
    }
    return library;
}

__attribute__((visibility("hidden"), used)) void *FIND(size_t index) {
    void *library = opened();
    void *function = library ? dlsym(library, names[index]) : NULL;
    TABLE[index] = function ? function : (void *)missing;
    return TABLE[index];
}

/* Arguments are in registers and on the stack as for the function itself, and stay there. */
__asm__(
    ".text\n"
    ".macro lazy name, index\n"
    ".globl \\name\n"
    ".type \\name, @function\n"
    "\\name:\n"
    "    movq " TEXT(TABLE) "+8*\\index(%rip), %r11\n"
    "    testq %r11, %r11\n"
    "    jz 1f\n"
    "    jmp *%r11\n"
    "1:  movl $\\index, %r11d\n"
    "    jmp " TEXT(GO) "\n"
    ".endm\n"
    TEXT(GO) ":\n"
    "    pushq %rdi\n"
    "    pushq %rsi\n"
    "    pushq %rdx\n"
    "    pushq %rcx\n"
    "    pushq %r8\n"
    "    pushq %r9\n"
    "    pushq %rax\n"
    "    subq $128, %rsp\n"
    "    movups %xmm0, (%rsp)\n"
    "    movups %xmm1, 16(%rsp)\n"
    "    movups %xmm2, 32(%rsp)\n"
    "    movups %xmm3, 48(%rsp)\n"
    "    movups %xmm4, 64(%rsp)\n"
    "    movups %xmm5, 80(%rsp)\n"
    "    movups %xmm6, 96(%rsp)\n"
    "    movups %xmm7, 112(%rsp)\n"
    "    movq %r11, %rdi\n"
    "    call " TEXT(FIND) "\n"
    "    movq %rax, %r11\n"
    "    movups (%rsp), %xmm0\n"
    "    movups 16(%rsp), %xmm1\n"
    "    movups 32(%rsp), %xmm2\n"
    "    movups 48(%rsp), %xmm3\n"
    "    movups 64(%rsp), %xmm4\n"
    "    movups 80(%rsp), %xmm5\n"
    "    movups 96(%rsp), %xmm6\n"
    "    movups 112(%rsp), %xmm7\n"
    "    addq $128, %rsp\n"
    "    popq %rax\n"
    "    popq %r9\n"
    "    popq %r8\n"
    "    popq %rcx\n"
    "    popq %rdx\n"
    "    popq %rsi\n"
    "    popq %rdi\n"
    "    jmp *%r11\n");
