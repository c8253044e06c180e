// Replies that come together: they mean what they mean one after the other, and are written once.
#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "tests/unit/provisioner/provisioning/world.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;

namespace {

std::vector<World::Said> all_of(const std::vector<Heard>& messages) {
  std::vector<World::Said> said;
  for (const Heard& message : messages) {
    if (message.app != "PROV-V1") said.push_back({message});
  }
  return said;
}

// All that is stored about a device, but for what is random and the words of its timeline.
std::string state_of(World& world, const std::string& name) {
  const ProvisionRequest request = world.request(name);
  std::string text = fmt::format("{} failures={} error={} completed={}", to_string(request.status), request.failures,
                                 request.last_error.substr(0, request.last_error.find(". ")), request.completed_at.has_value());
  for (const Attempt& attempt : world.attempts(name)) {
    text += fmt::format("; {} {} {} due={}", attempt.number, to_string(attempt.state), attempt.error,
                        attempt.due_at ? to_unix_millis(*attempt.due_at) : 0);
    for (const Step& step : world.steps(attempt.id)) {
      text += fmt::format(", {} {} {} {} sent {} times {}{}", step.ordinal, to_string(step.kind), step.reply_code.value_or(0),
                          step.reply_error, step.send_count, step.held ? "held " : "", step.payload.empty() ? "forgotten" : "kept");
    }
  }
  return text;
}

}  // namespace

TEST_CASE("A plan that is accepted at once completes with one line for all of it") {
  World world;
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, kNonce1, "h-1");
  const auto last = world.reply_at_once(device, all_of(messages));
  REQUIRE(line_of(last) == "200");
  CHECK(last[0].id == "h-1");
  CHECK(world.request("gw1").status == JobStatus::kCompleted);
  for (const Step& step : world.steps(world.attempts("gw1").at(0).id)) {
    CHECK(step.reply_code == 200);
    CHECK(step.topic.empty());
    CHECK(step.payload.empty());
  }
  const auto lines = world.timeline("gw1");
  REQUIRE(lines.size() >= 2);
  CHECK(lines.back().starts_with("completed: "));
  const std::string& accepted = lines[lines.size() - 2];
  CHECK(accepted.starts_with("reply: the device accepted "));
  CHECK(std::count(accepted.begin(), accepted.end(), ';') == 3);
  CHECK(std::count_if(lines.begin(), lines.end(), [](const std::string& line) { return line.starts_with("reply: "); }) == 1);
}

TEST_CASE("What comes with a reply that nobody asked for is heard all the same") {
  World world;
  const Device device = world.add_device("GW1");
  const Device other = world.add_device("GW2");
  const auto messages = world.hello(device, kNonce1);
  const auto of_other = world.hello(other, kNonce2);
  auto said = all_of(messages);
  Heard guess = said[0].to;
  guess.id = std::string(32, '0');
  said.insert(said.begin() + 1, World::Said{guess});
  said.insert(said.begin() + 3, World::Said{find(of_other, "CONF-V1")});
  CHECK(line_of(world.reply_at_once(device, said)) == "200");
  CHECK(world.misses == 2);
  CHECK(world.request("gw1").status == JobStatus::kCompleted);
  CHECK(world.request("gw2").status == JobStatus::kStarted);
}

TEST_CASE("A signing request that comes with the word on the step before it brings the rest of the plan") {
  World world;
  const Device device = world.add_device("GW1");
  Hello hello = device.hello(kNonce1, "h");
  hello.csr_der.reset();
  const auto first = world.hello(device, hello);
  REQUIRE(line_of(first) == "202 CERT-V1 KEYS-V1");
  const auto rest = world.reply_at_once(
      device, {{find(first, "CERT-V1")}, {find(first, "KEYS-V1"), 200, "", device.request_pem()}, {find(first, "CERT-V1")}});
  REQUIRE(line_of(rest) == "KEYS-V2 KEYS-V1 CONF-V1");
  CHECK(world.steps(world.attempts("gw1").at(0).id)[0].reply_code == 200);
  CHECK(world.request("gw1").status == JobStatus::kRunning);
  CHECK(line_of(world.reply_at_once(device, all_of(rest))) == "200");
  CHECK(world.misses == 0);
}

TEST_CASE("Whatever is said, in whatever order, comes to the same at once as one after the other") {
  World world;
  world.set_packages({package("app", PackageSource::kUrl), package("note", PackageSource::kInline)});
  world.package_contents["note"] = "hello";
  for (unsigned seed = 0; seed < 60; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    const Device one = world.add_device(fmt::format("ONE{}", seed));
    const Device together = world.add_device(fmt::format("ALL{}", seed));
    const std::string name_one = fmt::format("one{}", seed), name_all = fmt::format("all{}", seed);
    const auto to_one = world.hello(one, kNonce1, "h");
    const auto to_all = world.hello(together, kNonce1, "h");
    REQUIRE(line_of(to_one) == line_of(to_all));
    const auto says_one = all_of(to_one), says_all = all_of(to_all);
    std::vector<World::Said> said_one, said_all;
    for (int i = 0; i < 1 + static_cast<int>(random() % 8); ++i) {
      const std::size_t which = random() % says_one.size();
      const int code = random() % 6 == 0 ? 400 : 200;
      said_one.push_back(says_one[which]);
      said_all.push_back(says_all[which]);
      said_one.back().code = said_all.back().code = code;
      said_one.back().error = said_all.back().error = code == 200 ? "" : "no";
    }
    std::vector<Heard> heard_one;
    const int misses_before = world.misses;
    for (const World::Said& said : said_one) {
      for (Heard& heard : world.reply(one, said.to, said.code, said.error)) heard_one.push_back(std::move(heard));
    }
    const int misses_one = world.misses - misses_before;
    const auto heard_all = world.reply_at_once(together, said_all);
    CHECK(world.misses - misses_before - misses_one == misses_one);
    CHECK(line_of(heard_all) == line_of(heard_one));
    CHECK(state_of(world, name_all) == state_of(world, name_one));
  }
}
