// Package files on their way in: PUT /v1/packages/{sha256}.
#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "core/crypto/digest.hpp"
#include "tests/support/process.hpp"
#include "tests/unit/provisioner/admin/admin_fixture.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;

namespace {

std::string sha256_of(std::string_view content) {
  return to_hex(crypto::sha256(content));
}

std::string target_of(std::string_view content) {
  return "/v1/packages/" + sha256_of(content);
}

std::size_t files(const AdminFixture& admin) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(admin.platform.folder / "packages")) ++count;
  return count;
}

AdminReply put(AdminFixture& admin, const std::string& target, std::string_view content) {
  const auto file = admin.platform.folder / "to-upload";
  REQUIRE(write_file(file, content));
  auto reply = put_file_to_admin(admin.socket(), target, file);
  REQUIRE_MESSAGE(reply.has_value(), (reply ? "" : reply.error().message));
  return std::move(*reply);
}

}  // namespace

TEST_CASE("a file arrives whole, whatever its size, and the service knows it then") {
  AdminFixture admin;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{256 * 1024}, std::size_t{20'000'003}}) {
    CAPTURE(size);
    const std::string content(size, 'x');
    CHECK(error_code(admin.call("GET", target_of(content))) == "not_found");
    CHECK(put(admin, target_of(content), content).status == 200);
    CHECK(admin.call("GET", target_of(content)).status == 200);
    CHECK(read_file(admin.platform.folder / "packages" / sha256_of(content), 30'000'000) == content);
  }
}

TEST_CASE("curl uploads too, with its question first and in chunks") {
  AdminFixture admin;
  const std::string content(5'000'000, 'c');
  const auto file = admin.platform.folder / "file";
  REQUIRE(write_file(file, content));
  for (const std::vector<std::string>& more : {std::vector<std::string>{"-H", "Expect: 100-continue"},
                                               std::vector<std::string>{"-H", "Transfer-Encoding: chunked"}}) {
    std::vector<std::string> command{"curl", "-sS", "--max-time", "20", "--unix-socket", admin.socket().string(), "-T",
                                     file.string(), "-o", "/dev/null", "-w", "%{http_code}", "http://x" + target_of(content)};
    command.insert(command.end(), more.begin(), more.end());
    CHECK(fleet::test::run(command).output == "200");
    CHECK(files(admin) == 1);
    REQUIRE(fleet::remove_all(admin.platform.folder / "packages" / sha256_of(content)));
  }
}

TEST_CASE("what is cut off, or is another file than its name says, leaves nothing") {
  AdminFixture admin;
  const AdminReply reply = put(admin, target_of("one"), "another");
  CHECK(error_code(reply) == "invalid_argument");
  CHECK(fleet::test::eventually([&] { return files(admin) == 0; }));  // once the connection is over
  talk(admin.socket(), "PUT " + target_of("x") + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf");
  CHECK(fleet::test::eventually([&] { return files(admin) == 0; }));
  CHECK(error_code(put(admin, "/v1/packages/../../etc", "x")) == "malformed");
  CHECK(error_code(admin.call("DELETE", target_of("x"))) == "unsupported");
}

TEST_CASE("an apply wants its files to be there, a dry run does not, and what it drops is told") {
  AdminFixture admin;
  const std::string content = "package";
  const std::string documents =
      account_yaml() + kNextDocument + profile_yaml("  packages:\n    - {name: a, version: 1, file: a.tgz, size: 7, sha256: " +
                                                    sha256_of(content) + "}\n");
  CHECK(admin.apply(documents).status == 422);
  CHECK(admin.apply(documents, ",\"dryRun\":true").status == 200);
  REQUIRE(put(admin, target_of(content), content).status == 200);
  CHECK(admin.apply(documents).status == 200);
  CHECK(admin.dropped().empty());
  admin.apply_account_and_profile();
  CHECK(admin.dropped() == std::vector<std::string>{sha256_of(content)});
}
