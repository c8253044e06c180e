// The real program, at the prompt of a service without its broker.
#pragma once

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "tests/support/process.hpp"
#include "tests/unit/provisioner/admin/admin_fixture.hpp"

namespace fleet::provisioner::test {

inline fleet::test::Outcome cli_at(const std::filesystem::path& data, std::vector<std::string> arguments,
                                   std::string_view input = {}) {
  arguments.insert(arguments.begin(), FLEET_PROVISIONER);
  return fleet::test::run(std::move(arguments), input, std::chrono::seconds(30), {{"PROVISIONER_DATA", data.string()}});
}

struct Prompt : AdminFixture {
  fleet::test::Outcome cli(std::vector<std::string> arguments, std::string_view input = {}) {
    return cli_at(platform.folder.path(), std::move(arguments), input);
  }
  std::string file(const std::string& name, const std::string& text) {
    REQUIRE(write_file(platform.folder / name, text));
    return (platform.folder / name).string();
  }
  void apply_request(const std::string& name, const std::string& client_id) {
    apply_account_and_profile();
    REQUIRE(apply(request_yaml(name, client_id)).status == 200);
  }
};

inline bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace fleet::provisioner::test
