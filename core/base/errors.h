// The kinds of errors, and the two ways to raise them.
#pragma once

#include <source_location>
#include <stdexcept>
#include <string>
#include <string_view>

#include "core/base/text.h"

namespace vernier {

/// What every error of this project is.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The user can mend it: configuration, data, files. Exit code 2. One line per mistake; each names
/// the object, what was found, what is allowed.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// The run failed for a reason that is neither the user's input nor our mistake: disk full, a lost
/// file, weights that are no longer finite. Exit code 1.
class RunError : public Error {
 public:
  using Error::Error;
};

/// CUDA or NCCL refused; the message has operation and sizes. Exit code 1.
class DeviceError : public Error {
 public:
  using Error::Error;
};

/// Our mistake, raised by ensure(). Exit code 1.
class BugError : public Error {
 public:
  using Error::Error;
};

/// A signal asked to save and leave. Exit code 75.
class Interrupted : public Error {
 public:
  Interrupted() : Error("interrupted") {}
};

/// Raises UsageError with the joined parts.
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw UsageError(cat(parts...));
}

/// What `call` gives. Where it raises a UsageError, `where` goes before its message: the place of a
/// mistake is known further out than the mistake.
template <class Call>
auto placed(const std::string& where, const Call& call) {
  try {
    return call();
  } catch (const UsageError& problem) {
    fail(where, ": ", problem.what());
  }
}

/// Raises RunError with the joined parts.
template <class... Parts>
[[noreturn]] void fail_run(const Parts&... parts) {
  throw RunError(cat(parts...));
}

/// Raises BugError with file and line where `ok` is false. For what only a mistake of ours can
/// break.
inline void ensure(bool ok, std::string_view what,
                   std::source_location at = std::source_location::current()) {
  if (ok) return;
  throw BugError(cat(at.file_name(), ":", at.line(), ": ", what,
                     " does not hold; this is a mistake in Vernier, please report it"));
}

}  // namespace vernier
