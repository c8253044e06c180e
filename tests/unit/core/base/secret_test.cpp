#include "core/base/secret.hpp"

#include <set>
#include <type_traits>

#include <doctest/doctest.h>

using namespace fleet;

namespace {

template <typename T>
concept Printable = requires(std::ostream& stream, const T& value) {
  stream << value;
};

static_assert(!Printable<Secret>);
static_assert(!fmt::is_formattable<Secret>::value);
static_assert(!std::is_convertible_v<Secret, std::string_view>);

}  // namespace

TEST_CASE("wiping empties a string and leaves nothing in its memory, short or long") {
  for (const std::size_t size : {5U, 200U}) {
    std::string text(size, 's');
    text.reserve(size + 50);
    const char* memory = text.data();
    wipe(text);
    CHECK(text.empty());
    REQUIRE(text.data() == memory);
    for (std::size_t i = 0; i < size; ++i) REQUIRE(memory[i] == '\0');
  }
}

TEST_CASE("a secret that was moved away is gone from where it was") {
  for (const std::size_t size : {5U, 200U}) {
    const std::string value(size, 's');
    Secret first(value);
    Secret second(std::move(first));
    CHECK(second.reveal() == value);
    CHECK(first.empty());  // NOLINT(bugprone-use-after-move): that is the promise
    Secret third("old");
    third = std::move(second);
    CHECK(third.reveal() == value);
    CHECK(second.empty());  // NOLINT(bugprone-use-after-move)
    const Secret copy = third;
    third = copy;
    const Secret& same = third;
    third = same;
    CHECK(third == copy);
  }
}

TEST_CASE("secrets are equal only if all their bytes are") {
  CHECK(constant_time_equal("", ""));
  CHECK(constant_time_equal("abc", "abc"));
  CHECK_FALSE(constant_time_equal("abc", "abd"));
  CHECK_FALSE(constant_time_equal("xbc", "abc"));
  CHECK_FALSE(constant_time_equal("abc", "abcd"));
  CHECK_FALSE(constant_time_equal("", "a"));
  CHECK_FALSE(constant_time_equal(std::string_view("a\0b", 3), std::string_view("a\0c", 3)));
  CHECK(Secret("a") == Secret("a"));
  CHECK(Secret("a") != Secret("b"));
}

TEST_CASE("random ids and passwords have their form and do not repeat") {
  std::set<std::string> seen;
  for (int i = 0; i < 200; ++i) {
    const std::string id = random_id();
    CHECK(id.size() == 32);
    CHECK(id.find_first_not_of("0123456789abcdef") == std::string::npos);
    seen.insert(id);
    const Secret password = random_password();
    CHECK(password.reveal().size() == 32);
    CHECK(password.reveal().find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == std::string_view::npos);
    seen.insert(std::string(password.reveal()));
  }
  CHECK(seen.size() == 400);
  CHECK(random_bytes(0).empty());
  CHECK(random_bytes(1000).size() == 1000);
}
