#include "provisioner/packages/folder.hpp"

#include <sys/stat.h>

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "core/crypto/digest.hpp"
#include "tests/support/temp_folder.hpp"

using namespace fleet;
using namespace fleet::provisioner;

namespace {

std::string sha256_of(std::string_view content) {
  return to_hex(crypto::sha256(content));
}

Result<void> upload(const PackageFolder& folder, const std::string& sha256, std::string_view content) {
  TRY_ASSIGN(PackageUpload upload, PackageUpload::begin(folder, sha256));
  TRY(upload.add(content.substr(0, content.size() / 2)));
  TRY(upload.add(content.substr(content.size() / 2)));
  return upload.finish();
}

std::size_t entries(const std::filesystem::path& folder) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++count;
  return count;
}

}  // namespace

TEST_CASE("A file is there under the name of its content, whole and private") {
  const fleet::test::TempFolder temp;
  const PackageFolder folder(temp / "packages");
  REQUIRE(folder.prepare());
  const std::string sha256 = sha256_of("content");
  CHECK(!folder.has(sha256));
  CHECK(folder.read(sha256, 100).error().code == ErrorCode::kNotFound);
  REQUIRE(upload(folder, sha256, "content"));
  CHECK(folder.has(sha256));
  CHECK(folder.read(sha256, 100) == "content");
  CHECK(folder.read(sha256, 3).error().code == ErrorCode::kLimitExceeded);
  struct stat found {};
  REQUIRE(::stat((folder.path() / sha256).c_str(), &found) == 0);
  CHECK((found.st_mode & 0777) == 0600);
  REQUIRE(upload(folder, sha256, "content"));  // once more is fine
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("What is not what it should be never gets its name, and leaves nothing") {
  const fleet::test::TempFolder temp;
  const PackageFolder folder(temp / "packages");
  REQUIRE(folder.prepare());
  CHECK(upload(folder, sha256_of("content"), "another").error().code == ErrorCode::kInvalidArgument);
  { auto given_up = PackageUpload::begin(folder, sha256_of("content")); }
  CHECK(entries(folder.path()) == 0);
  CHECK(PackageUpload::begin(folder, "../../evil").error().code == ErrorCode::kMalformed);
  CHECK(!folder.has("../packages"));
}

TEST_CASE("A file that was changed on the disk is not given to devices") {
  const fleet::test::TempFolder temp;
  const PackageFolder folder(temp / "packages");
  REQUIRE(folder.prepare());
  const std::string sha256 = sha256_of("content");
  REQUIRE(upload(folder, sha256, "content"));
  REQUIRE(write_file(folder.path() / sha256, "contEnt"));
  CHECK(folder.read(sha256, 100).error().code == ErrorCode::kCorrupt);
}

TEST_CASE("Files that nothing names any more go, and so does what a cut-off upload has left") {
  const fleet::test::TempFolder temp;
  const PackageFolder folder(temp / "packages");
  REQUIRE(folder.prepare());
  REQUIRE(upload(folder, sha256_of("a"), "a"));
  REQUIRE(upload(folder, sha256_of("b"), "b"));
  REQUIRE(write_file(folder.path() / ".upload-123", "half"));
  REQUIRE(folder.prepare());
  CHECK(entries(folder.path()) == 2);
  CHECK(folder.keep_only({sha256_of("b")}).value() == 1);
  CHECK(!folder.has(sha256_of("a")));
  CHECK(folder.has(sha256_of("b")));
  REQUIRE(folder.remove(sha256_of("b")));
  REQUIRE(folder.remove(sha256_of("b")));
}
