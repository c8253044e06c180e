#include "provisioner/packages/links.hpp"

#include <string>

#include <doctest/doctest.h>

using namespace fleet;
using namespace fleet::provisioner;

namespace {

const WallTime kNow = from_unix_millis(1'800'000'000'000);
const PackageLink kLink{std::string(64, 'a'), 42, 3};
const std::string kBase = "https://host:8884";

PackageLinks links() {
  return {kBase, Bytes(32, 'k')};
}

std::string target() {
  return links().make(kLink, "app.tar.gz", kNow).substr(kBase.size());
}

ErrorCode code(std::string_view text, WallTime when = kNow) {
  const auto read = links().read(text, when);
  REQUIRE_FALSE(read);
  return read.error().code;
}

}  // namespace

TEST_CASE("A link says which file it is for, and for which attempt") {
  CHECK(links().make(kLink, "app.tar.gz", kNow).starts_with(kBase + "/p/" + kLink.sha256 + "/app.tar.gz?a=42.3&e="));
  CHECK(links().read(target(), kNow) == kLink);
  CHECK(links().read(target(), kNow + kLinkValidity - Seconds(1)) == kLink);
}

TEST_CASE("A link that has expired is told from one that never was") {
  CHECK(code(target(), kNow + kLinkValidity) == ErrorCode::kExpired);
}

TEST_CASE("A link of which anything is changed does not hold") {
  const std::string good = target();
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = bad[i] == '1' ? '2' : '1';
    const auto read = links().read(bad, kNow);
    CAPTURE(bad);
    // the file name is for the reader's eyes only
    if (read) CHECK(bad.substr(0, 68) == good.substr(0, 68));
    if (read) CHECK(*read == kLink);
  }
  CHECK(code(good + "0") == ErrorCode::kUnauthenticated);
  CHECK(code(good.substr(0, good.size() - 1)) == ErrorCode::kUnauthenticated);
  const PackageLinks others(kBase, Bytes(32, 'x'));
  CHECK(others.read(good, kNow).error().code == ErrorCode::kUnauthenticated);
}

TEST_CASE("What is no link is not found") {
  for (const char* const text : {"", "/", "/p/", "/p/../../etc/passwd", "/p/aa/x?a=1.1&e=1&s=1", "/metrics"}) {
    CHECK(code(text) == ErrorCode::kNotFound);
  }
}
