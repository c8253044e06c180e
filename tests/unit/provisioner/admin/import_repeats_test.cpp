// What a long import has twice, found without all of it in memory.
#include "provisioner/cli/import_repeats.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

namespace fleet::provisioner {
namespace {

// A lot of `size` requests, changed by `change` before it is added; the problems, by path and line.
template <typename Change>
std::vector<std::string> problems_of(std::size_t size, std::size_t at_once, Change change) {
  auto spool = ImportSpool::create();
  REQUIRE(spool);
  RepeatFinder finder(at_once);
  for (std::size_t i = 0; i < size; ++i) {
    ImportedRequest request;
    request.name = fmt::format("name-{}", i);
    request.client_id = fmt::format("client-{}", i);
    request.username = fmt::format("user-{}", i);
    request.password = 1;
    request.mark = {static_cast<int>(i), 1};
    change(i, request);
    REQUIRE(finder.add(request));
    REQUIRE(spool->add(request));
  }
  const auto found = finder.find(*spool, {"lot.yaml"}, [](std::uint64_t) { return false; }, 20);
  REQUIRE(found);
  std::vector<std::string> places;
  for (const config::Problem& problem : *found) places.push_back(fmt::format("{} {}", problem.path, problem.mark.line));
  return places;
}

TEST_CASE("What comes twice is found however far apart it is, and however little is in memory at a time") {
  for (const std::size_t at_once : {std::size_t{1}, std::size_t{7}, std::size_t{1000}}) {
    CAPTURE(at_once);
    const auto found = problems_of(100, at_once, [](std::size_t i, ImportedRequest& request) {
      if (i == 99) request.name = "name-0";
      if (i == 50) request.client_id = "client-3";
      if (i == 61) request.username = "user-60", request.password = 2;
    });
    CHECK(found == std::vector<std::string>{"spec.clientId 50", "spec.provisionUserUsername 61", "metadata.name 99"});
    CHECK(problems_of(100, at_once, [](std::size_t, ImportedRequest&) {}).empty());
  }
}

TEST_CASE("Nothing at all has nothing twice") {
  CHECK(problems_of(0, 10, [](std::size_t, ImportedRequest&) {}).empty());
}

}  // namespace
}  // namespace fleet::provisioner
