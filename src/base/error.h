/* Filling errors. */
#ifndef MC_BASE_ERROR_H
#define MC_BASE_ERROR_H

#include <mergecraft/error.h>

#include <stdbool.h>

/*
 * Fills *error with file, tensor (either may be NULL), offset (−1: none) and a printf-style text;
 * returns status.
 */
mc_status mc_fail_at(mc_error *error, mc_status status, const char *file, const char *tensor,
                     int64_t offset, const char *format, ...) MC_PRINTF(6, 7);

/*
 * The same, with ": " and the words for errno appended. The status follows from errno: ENOSPC and
 * EDQUOT are MC_NO_SPACE.
 */
mc_status mc_fail_errno(mc_error *error, const char *file, const char *format, ...) MC_PRINTF(3, 4);

mc_status mc_fail_memory(mc_error *error);

/* Names the file or tensor of a failure that has none yet; returns status. */
mc_status mc_in_file(mc_error *error, const char *file, mc_status status);
mc_status mc_in_tensor(mc_error *error, const char *tensor, mc_status status);

/* Adds a hint to a failure; returns status, so that it can wrap a call. */
mc_status mc_with_hint(mc_error *error, mc_hint hint, mc_status status);

#if defined(__clang_analyzer__) && !defined(MC_ERROR_ITSELF)
/* The analyzer sees one file at a time. What it cannot know: a failure is never MC_OK. */
#define mc_fail(error_, status_, ...) (mc_fail((error_), (status_), __VA_ARGS__), (status_))
#define mc_fail_at(error_, status_, ...) (mc_fail_at((error_), (status_), __VA_ARGS__), (status_))
#define mc_fail_errno(error_, ...) (mc_fail_errno((error_), __VA_ARGS__), MC_IO)
#define mc_fail_memory(error_) (mc_fail_memory(error_), MC_NO_MEMORY)
#endif

/* Returns the status of a call that failed. */
#define MC_TRY(call_)                                                                              \
    do {                                                                                           \
        const mc_status try_status_ = (call_);                                                     \
        if (try_status_ != MC_OK)                                                                  \
            return try_status_;                                                                    \
    } while (0)

#endif
