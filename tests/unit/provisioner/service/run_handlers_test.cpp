#include "provisioner/service/run_handlers.hpp"

#include <stdexcept>

#include <boost/asio/post.hpp>
#include <doctest/doctest.h>

#include "core/base/log.hpp"

using namespace fleet;
using namespace fleet::provisioner;

TEST_CASE("Without an exception the handlers run to their end and nothing is stopped") {
  boost::asio::io_context io;
  int ran = 0;
  boost::asio::post(io, [&] { ++ran; });
  CHECK(run_handlers(io, [] { FAIL("nobody asked for that"); }).has_value());
  CHECK(ran == 1);
}

TEST_CASE("An exception stops the service in order, and is its error") {
  boost::asio::io_context io;
  int stops = 0;
  int ran = 0;
  boost::asio::post(io, [] { throw std::runtime_error("no such luck"); });
  boost::asio::post(io, [&] { ++ran; });
  const auto result = run_handlers(io, [&] { ++stops; });
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ErrorCode::kInternal);
  CHECK(result.error().message.find("no such luck") != std::string::npos);
  CHECK(stops == 1);
  CHECK(ran == 1);
}

TEST_CASE("What throws while it stops ends it at once, with the first error") {
  boost::asio::io_context io;
  boost::asio::post(io, [] { throw std::runtime_error("first"); });
  boost::asio::post(io, [] { throw 42; });
  const auto result = run_handlers(io, [] {});
  REQUIRE_FALSE(result);
  CHECK(result.error().message.find("first") != std::string::npos);
  boost::asio::io_context other;
  boost::asio::post(other, [] { throw std::runtime_error("first"); });
  CHECK_FALSE(run_handlers(other, [] { throw std::runtime_error("second"); }));
}
