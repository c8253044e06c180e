#include "core/base/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include <doctest/doctest.h>

#include "tests/support/temp_folder.hpp"

using namespace fleet;
namespace fs = std::filesystem;

namespace {

mode_t mode_of(const fs::path& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 07777;
}

std::size_t entries(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), {}));
}

}  // namespace

TEST_CASE("a file is written whole, private by default, whatever the umask") {
  const fleet::test::TempFolder folder;
  const fs::path path = folder / "file";
  const mode_t before = ::umask(0);
  CHECK(write_file(path, std::string_view("one\0two", 7)));
  CHECK(mode_of(path) == 0600);
  ::umask(0777);
  CHECK(write_file(folder / "shared", "x", 0644));
  ::umask(before);
  CHECK(mode_of(folder / "shared") == 0644);
  CHECK(read_file(path).value() == Bytes("one\0two", 7));
  CHECK(write_file(path, ""));
  CHECK(read_file(path).value().empty());
  CHECK(entries(folder.path()) == 2);
}

TEST_CASE("replacing a file gives it the new mode and does not follow a link") {
  const fleet::test::TempFolder folder;
  CHECK(write_file(folder / "target", "old", 0644));
  CHECK(write_file(folder / "target", "new"));
  CHECK(mode_of(folder / "target") == 0600);
  fs::create_symlink(folder / "target", folder / "link");
  CHECK(write_file(folder / "link", "own"));
  CHECK_FALSE(fs::is_symlink(folder / "link"));
  CHECK(read_file(folder / "target").value() == "new");
}

TEST_CASE("a reader never sees half of a replaced file") {
  const fleet::test::TempFolder folder;
  const fs::path path = folder / "file";
  const Bytes a(100'000, 'a'), b(100'000, 'b');
  REQUIRE(write_file(path, a));
  std::thread writer([&] {
    for (int i = 0; i < 50; ++i) static_cast<void>(write_file(path, i % 2 == 0 ? b : a));
  });
  std::size_t torn = 0;
  for (int i = 0; i < 200; ++i) {
    const auto seen = read_file(path);
    if (!seen || (*seen != a && *seen != b)) ++torn;
  }
  writer.join();
  CHECK(torn == 0);
}

TEST_CASE("a failed write leaves nothing behind and keeps what was there") {
  const fleet::test::TempFolder folder;
  const auto missing = write_file(folder / "no/such/folder", "x");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == ErrorCode::kNotFound);
  // a folder cannot be replaced by a file
  REQUIRE(make_folder(folder / "taken"));
  REQUIRE(write_file(folder / "taken/inside", "x"));
  CHECK_FALSE(write_file(folder / "taken", "x"));
  CHECK(entries(folder.path()) == 1);
  CHECK(read_file(folder / "taken/inside").value() == "x");
}

TEST_CASE("a file is created only if it is not there") {
  const fleet::test::TempFolder folder;
  CHECK(create_file(folder / "file", "first"));
  CHECK(mode_of(folder / "file") == 0600);
  const auto again = create_file(folder / "file", "second");
  REQUIRE_FALSE(again);
  CHECK(again.error().code == ErrorCode::kAlreadyExists);
  CHECK(read_file(folder / "file").value() == "first");
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("reading stops at the limit and names the file that is missing") {
  const fleet::test::TempFolder folder;
  REQUIRE(write_file(folder / "file", Bytes(100'000, 'x')));
  CHECK(read_file(folder / "file", 100'000));
  CHECK(read_file(folder / "file", 99'999).error().code == ErrorCode::kLimitExceeded);
  const auto missing = read_file(folder / "missing");
  CHECK(missing.error().code == ErrorCode::kNotFound);
  CHECK(missing.error().message.find("missing") != std::string::npos);
  CHECK_FALSE(read_file(folder.path()));
}

TEST_CASE("folders are made with their parents, private, and made again without harm") {
  const fleet::test::TempFolder folder;
  CHECK(make_folder(folder / "a/b/c"));
  CHECK(mode_of(folder / "a/b/c") == 0700);
  CHECK(mode_of(folder / "a/b") == 0755);
  CHECK(make_folder(folder / "a/b/c", 0750));
  CHECK(mode_of(folder / "a/b/c") == 0750);
  REQUIRE(write_file(folder / "file", "x"));
  CHECK_FALSE(make_folder(folder / "file/below"));
  CHECK(sync_folder(folder.path()));
  CHECK_FALSE(sync_folder(folder / "missing"));
}

TEST_CASE("a link is switched in one step, whether it was there or not") {
  const fleet::test::TempFolder folder;
  CHECK(switch_link(folder / "current", "1"));
  CHECK(fs::read_symlink(folder / "current") == "1");
  CHECK(switch_link(folder / "current", "2"));
  CHECK(fs::read_symlink(folder / "current") == "2");
  CHECK(entries(folder.path()) == 1);
  REQUIRE(make_folder(folder / "folder"));
  CHECK_FALSE(switch_link(folder / "folder", "3"));
  CHECK(entries(folder.path()) == 2);
}

TEST_CASE("files and folders are removed, and links without what they point at") {
  const fleet::test::TempFolder folder;
  REQUIRE(make_folder(folder / "a/b"));
  REQUIRE(write_file(folder / "a/b/file", "x"));
  REQUIRE(write_file(folder / "kept", "x"));
  REQUIRE(switch_link(folder / "a/link", folder / "kept"));
  CHECK(fleet::remove_all(folder / "a"));
  CHECK_FALSE(fs::exists(folder / "a"));
  CHECK(fs::exists(folder / "kept"));
  CHECK(fleet::remove_all(folder / "a"));
}

TEST_CASE("a lock is held once, names its holder, and goes with the object") {
  const fleet::test::TempFolder folder;
  const fs::path path = folder / "lock";
  {
    const auto lock = FileLock::acquire(path);
    REQUIRE(lock);
    CHECK(mode_of(path) == 0600);
    const auto second = FileLock::acquire(path);
    REQUIRE_FALSE(second);
    CHECK(second.error().code == ErrorCode::kConflict);
    CHECK(second.error().message.find(std::to_string(::getpid())) != std::string::npos);
  }
  CHECK(FileLock::acquire(path));
}

TEST_CASE("a descriptor is closed once, by its last owner") {
  const auto is_open = [](int fd) { return ::fcntl(fd, F_GETFD) >= 0; };
  int number = -1;
  {
    Fd first(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    REQUIRE(first);
    number = first.get();
    Fd second(std::move(first));
    CHECK_FALSE(first);  // NOLINT(bugprone-use-after-move): that is the promise
    Fd third;
    third = std::move(second);
    CHECK(third.get() == number);
    CHECK(is_open(number));
  }
  CHECK_FALSE(is_open(number));
}
