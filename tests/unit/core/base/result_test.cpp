#include "core/base/result.hpp"

#include <cerrno>
#include <memory>
#include <set>

#include <doctest/doctest.h>

using namespace fleet;

namespace {

Result<int> half(int number) {
  if (number % 2 != 0) return fail(ErrorCode::kInvalidArgument, "{} is odd", number);
  return number / 2;
}

Result<int> quarter(int number) {
  TRY_ASSIGN(const int once, half(number));
  TRY_ASSIGN(const int twice, half(once));
  return twice;
}

Result<void> check(int number) {
  TRY(half(number));
  return {};
}

Result<std::unique_ptr<int>> boxed(int number) {
  TRY_ASSIGN(auto value, half(number));
  return std::make_unique<int>(value);
}

}  // namespace

TEST_CASE("TRY and TRY_ASSIGN go on with a value and return an error as it is") {
  CHECK(quarter(8).value() == 2);
  CHECK(quarter(6).error().message == "3 is odd");
  CHECK(quarter(5).error().message == "5 is odd");
  CHECK(quarter(5).error().code == ErrorCode::kInvalidArgument);
  CHECK(check(2));
  CHECK(check(3).error().message == "3 is odd");
}

TEST_CASE("values that can only be moved pass through") {
  const auto passed = []() -> Result<std::unique_ptr<int>> {
    TRY_ASSIGN(auto box, boxed(4));
    return box;
  };
  CHECK(*passed().value() == 2);
}

TEST_CASE("context goes in front of the message and keeps the code") {
  const Error error = with_context({ErrorCode::kExpired, "too late"}, "request r1");
  CHECK(error.code == ErrorCode::kExpired);
  CHECK(error.message == "request r1: too late");
}

TEST_CASE("errno becomes the kind that callers act on") {
  CHECK(errno_error(ENOSPC, "x").code == ErrorCode::kNoSpace);
  CHECK(errno_error(EDQUOT, "x").code == ErrorCode::kNoSpace);
  CHECK(errno_error(ENOENT, "x").code == ErrorCode::kNotFound);
  CHECK(errno_error(EACCES, "x").code == ErrorCode::kPermissionDenied);
  CHECK(errno_error(EPERM, "x").code == ErrorCode::kPermissionDenied);
  CHECK(errno_error(EEXIST, "x").code == ErrorCode::kAlreadyExists);
  CHECK(errno_error(EIO, "x").code == ErrorCode::kIo);
  CHECK(errno_error(ENOENT, "/a/b").message == "/a/b: No such file or directory");
}

TEST_CASE("every code has a name of its own, and only waiting helps the transient ones") {
  std::set<std::string_view> names;
  std::set<ErrorCode> transient;
  constexpr int kCodes = static_cast<int>(ErrorCode::kInternal) + 1;
  for (int i = 0; i < kCodes; ++i) {
    const auto code = static_cast<ErrorCode>(i);
    names.insert(to_string(code));
    if (is_transient(code)) transient.insert(code);
  }
  CHECK(names.size() == kCodes);
  CHECK(names.count("not_found") == 1);
  CHECK(transient == std::set{ErrorCode::kNoSpace, ErrorCode::kUnavailable, ErrorCode::kTimedOut});
}
