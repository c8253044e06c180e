#include "provisioner/service/hello_backlog.hpp"

#include <doctest/doctest.h>

using namespace fleet;
using namespace fleet::provisioner;

namespace {

Hello hello(const std::string& nonce) {
  Hello hello;
  hello.nonce = nonce;
  return hello;
}

}  // namespace

TEST_CASE("Of what a device said while the provisioner was away, only the last hello is left") {
  HelloBacklog backlog;
  CHECK(backlog.holding());
  for (const char* const nonce : {"1", "1", "2", "3"}) backlog.hold("GW1", hello(nonce));
  backlog.hold("GW2", hello("4"));
  const auto released = backlog.release();
  REQUIRE(released.size() == 2);
  CHECK(released.at("GW1").nonce == "3");
  CHECK(released.at("GW2").nonce == "4");
  CHECK_FALSE(backlog.holding());
}

TEST_CASE("What was released is gone, and hellos are held again only after a new beginning") {
  HelloBacklog backlog;
  backlog.hold("GW1", hello("1"));
  CHECK(backlog.release().size() == 1);
  CHECK(backlog.release().empty());
  backlog.begin();
  CHECK(backlog.holding());
}
