// How every fallible function of the project answers: a value, or one Error with a kind a program can act on and a
// sentence a person can act on.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <tl/expected.hpp>

namespace fleet {

// The kinds of failure that callers tell apart. `is_transient` says which of them are worth another try unchanged.
enum class ErrorCode {
  kInvalidArgument,   // the caller or operator gave something that can never work
  kMalformed,         // bytes from outside do not have the form they must have
  kNotFound,
  kAlreadyExists,
  kConflict,          // the thing exists, but not in a state that allows this
  kUnauthenticated,   // wrong credentials, signature or certificate
  kPermissionDenied,
  kExpired,
  kLimitExceeded,     // too large, too many
  kNoSpace,           // disk full or quota; transient
  kUnavailable,       // a peer or resource is away; transient
  kTimedOut,          // transient
  kIo,                // any other failure of the operating system
  kCorrupt,           // our own persisted data does not have the form that we wrote
  kUnsupported,
  kInternal,          // a defect of ours
};

// The stable lower-case name of a code, e.g. "not_found"; used in JSON and logs.
std::string_view to_string(ErrorCode code);

// True if the same call may succeed later without anybody changing anything.
bool is_transient(ErrorCode code);

// A failure: `message` reads "what: why" and names the file, key or peer that it is about. It never holds a secret.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};

// `Error` with "context: " in front of its message. Added once a layer.
Error with_context(Error error, std::string_view context);

// An Error from errno: picks kNoSpace, kNotFound, kPermissionDenied, kAlreadyExists or kIo; "context: strerror".
Error errno_error(int error_number, std::string_view context);

// A value or an Error. [[nodiscard]], unlike tl::expected itself.
template <typename T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
};

using Failure = tl::unexpected<Error>;

// Builds a failed Result of any type: `return fail(ErrorCode::kNotFound, "profile {}: no such profile", name);`
template <typename... Args>
[[nodiscard]] Failure fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return Failure(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}
[[nodiscard]] inline Failure fail(Error error) { return Failure(std::move(error)); }

}  // namespace fleet

#define FLEET_CONCAT_INNER(a, b) a##b
#define FLEET_CONCAT(a, b) FLEET_CONCAT_INNER(a, b)

// TRY(expr): returns the error of `expr` (a Result<void>, or one whose value is not needed) to the caller.
#define TRY(...)                                                                        \
  do {                                                                                  \
    if (auto fleet_try = (__VA_ARGS__); !fleet_try) {                                   \
      return ::fleet::Failure(std::move(fleet_try).error());                            \
    }                                                                                   \
  } while (false)

// TRY_ASSIGN(auto x, expr): x = the value of `expr`, or returns its error to the caller.
#define TRY_ASSIGN(target, ...) FLEET_TRY_ASSIGN(FLEET_CONCAT(fleet_try_, __COUNTER__), target, __VA_ARGS__)
#define FLEET_TRY_ASSIGN(name, target, ...)                           \
  auto name = (__VA_ARGS__);                                          \
  if (!name) return ::fleet::Failure(std::move(name).error());        \
  target = std::move(*name)
