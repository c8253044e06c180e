#include "agent/apply/removal.hpp"

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

TEST_CASE("what is set aside has left its place, and its new name is one that a start removes") {
  test::TempFolder folder;
  fs::create_directories(folder / "a/b");
  const auto aside = set_aside(folder / "a", folder.path());
  REQUIRE(aside);
  CHECK_FALSE(fs::exists(folder / "a"));
  CHECK(fs::exists(*aside / "b"));
  const std::string name = aside->filename().string();
  CHECK(name.starts_with(".a."));
  CHECK(name.ends_with(".tmp"));
  CHECK(set_aside(folder / "a", folder.path()).error().code == ErrorCode::kNotFound);
}

TEST_CASE("a tree is removed whole, links as links, and what is not there is fine") {
  test::TempFolder folder, outside;
  REQUIRE(write_file(outside / "kept", "x"));
  fs::create_directories(folder / "a/b/c");
  REQUIRE(write_file(folder / "a/file", "x"));
  REQUIRE(write_file(folder / "a/b/c/file", "x"));
  fs::create_symlink(outside.path(), folder / "a/link");
  const auto go_on = [] { return true; };
  CHECK(remove_tree(folder / "a", go_on));
  CHECK_FALSE(fs::exists(folder / "a"));
  CHECK(fs::exists(outside / "kept"));
  CHECK(remove_tree(folder / "a", go_on));
}

TEST_CASE("a removal stops when it is told to, and another one goes on where it was") {
  test::TempFolder folder;
  fs::create_directory(folder / "a");
  for (int i = 0; i < 10; ++i) REQUIRE(write_file(folder / ("a/" + std::to_string(i)), "x"));
  int left = 4;
  const auto removed = remove_tree(folder / "a", [&] { return left-- > 0; });
  REQUIRE_FALSE(removed);
  CHECK(removed.error().code == ErrorCode::kUnavailable);
  CHECK(std::distance(fs::directory_iterator(folder / "a"), fs::directory_iterator()) == 6);
  CHECK(remove_tree(folder / "a", [] { return true; }));
  CHECK_FALSE(fs::exists(folder / "a"));
}

}  // namespace
}  // namespace fleet::agent
