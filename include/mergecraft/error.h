/*
 * How functions report failures.
 *
 * A function that can fail returns an mc_status and takes an `mc_error *` as its last argument. On
 * success it returns MC_OK and leaves the error untouched. On failure it returns another status and
 * fills the error, which the caller owns. The error may be NULL if only the status matters. The
 * library never prints, exits, or aborts on input.
 *
 * Thread-safety: an mc_error belongs to one thread at a time. There is no global error state.
 */
#ifndef MERGECRAFT_ERROR_H
#define MERGECRAFT_ERROR_H

#include <mergecraft/export.h>

#include <stddef.h>
#include <stdint.h>

MC_BEGIN_DECLS

/* name, number, meaning. Numbers are never reused. */
#define MC_STATUS_MAP(X)                                                                           \
    X(OK, 0, "ok")                                                                                 \
    X(NO_MEMORY, 1, "out of memory")                                                               \
    X(IO, 2, "input/output error")                                                                 \
    X(NOT_FOUND, 3, "not found")                                                                   \
    X(FORMAT, 4, "malformed file")                                                                 \
    X(UNSUPPORTED, 5, "not supported")                                                             \
    X(MISMATCH, 6, "models do not match")                                                          \
    X(USAGE, 7, "wrong usage")                                                                     \
    X(EXISTS, 8, "exists already")                                                                 \
    X(NO_SPACE, 9, "not enough room on the disk")                                                  \
    X(CHANGED, 10, "input changed while it was read")                                              \
    X(INTERRUPTED, 11, "interrupted")                                                              \
    X(COMPILE, 12, "method does not compile")                                                      \
    X(BUSY, 13, "in use by another process")

typedef enum mc_status {
#define X(name_, number_, text_) MC_##name_ = number_,
    MC_STATUS_MAP(X)
#undef X
} mc_status;

/*
 * What the caller can do about an error. The library does not know how its user is called: a
 * program phrases hints in its own terms, as an option or an argument.
 */
typedef enum mc_hint {
    MC_HINT_NONE,
    MC_HINT_BASE,      /* name a base model */
    MC_HINT_SIDE,      /* give the side input that the text names */
    MC_HINT_OVERWRITE, /* allow the output to be replaced */
    MC_HINT_RESUME,    /* call it again in the same way: it resumes */
    MC_HINT_UNUSED,    /* allow patterns that no name matches */
    MC_HINT_TOKENIZER  /* choose the tokenizer of the result: tokens are merged by their texts */
} mc_hint;

/* All text is NUL-terminated UTF-8, cut to fit. */
typedef struct mc_error {
    mc_status code;
    mc_hint hint;
    int64_t offset;   /* byte in the file; -1: none */
    uint64_t token;   /* for callbacks: the library hands on what they set. 0 otherwise */
    char file[1024];  /* that the error is about; "" if none */
    char tensor[256]; /* the same */
    char text[4096];  /* what was expected and what was found */
} mc_error;

/* An empty error: `mc_error error = MC_ERROR_NONE;`. */
#define MC_ERROR_NONE                                                                              \
    {                                                                                              \
        .code = MC_OK, .offset = -1                                                                \
    }

/*
 * Writes the error as one line, "file: tensor 'name': text", without newline and without the hint,
 * into buffer (size bytes, always NUL-terminated when size > 0). Control characters in names are
 * shown as \xNN. Returns buffer.
 */
MC_API char *mc_error_message(const mc_error *error, char *buffer, size_t size);

/* Returns the status in words, "malformed file" for MC_FORMAT. Never NULL; static storage. */
MC_API const char *mc_status_text(mc_status status);

/*
 * Fills *error (which may be NULL) with a printf-style text and neither file nor tensor, and
 * returns status. For methods and callbacks that fail: `return mc_fail(error, MC_USAGE, "…");`.
 */
MC_API mc_status mc_fail(mc_error *error, mc_status status, const char *format, ...)
    MC_PRINTF(3, 4);

MC_END_DECLS

#endif
