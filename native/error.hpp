// The error message of the calling thread.
#pragma once

namespace ink {

// Store a message for ink_last_error; returns `status`.
int fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

const char *last_error();

}  // namespace ink
