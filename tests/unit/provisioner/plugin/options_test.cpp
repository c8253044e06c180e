#include "provisioner/plugin/options.hpp"

#include <doctest/doctest.h>

using namespace fleet::provisioner::plugin;

namespace {

const OptionList kProvision{{"mode", "provision"},     {"account", "acme"},         {"provisioner_id", "prov"},
                            {"admission_db", "/a.db"}, {"verifier_key_file", "/k"}, {"local_socket", "/s"}};

std::string error_of(const OptionList& list) {
  const auto options = parse_options(list);
  return options ? "" : options.error().message;
}

}  // namespace

TEST_CASE("a complete list for a provision broker is taken") {
  const auto options = parse_options(kProvision);
  REQUIRE(options);
  const auto& provision = std::get<ProvisionOptions>(*options);
  CHECK(provision.account == "acme");
  CHECK(provision.provisioner_id == "prov");
  CHECK(provision.admission_db == "/a.db");
  CHECK(provision.verifier_key_file == "/k");
  CHECK(provision.local_socket == "/s");
}

TEST_CASE("every missing option is named at once") {
  const std::string error = error_of({{"mode", "provision"}, {"account", "acme"}});
  for (const char* name : {"provisioner_id", "admission_db", "verifier_key_file", "local_socket"}) {
    CAPTURE(name);
    CHECK(error.find(std::string("plugin_opt_") + name + ": missing") != std::string::npos);
  }
  CHECK(error.find("account") == std::string::npos);
}

TEST_CASE("an unknown option, one given twice and a bad name are refused") {
  auto list = kProvision;
  list.emplace_back("acount", "x");
  CHECK(error_of(list) == "plugin_opt_acount: no such option in this mode");
  list = kProvision;
  list.emplace_back("account", "other");
  CHECK(error_of(list) == "plugin_opt_account: given twice");
  list = kProvision;
  list[1].second = "a/+";
  CHECK(error_of(list).find("plugin_opt_account: must have the form") == 0);
}

TEST_CASE("the owner mode knows strict and loose, and does not take the other mode's options") {
  const auto strict = parse_options({{"mode", "owner"}, {"account", "acme"}, {"credentials", "strict"}});
  REQUIRE(strict);
  CHECK(std::get<OwnerOptions>(*strict).strict);
  const auto loose =
      parse_options({{"mode", "owner"}, {"account", "acme"}, {"credentials", "loose"}, {"local_socket", "/s"}});
  REQUIRE(loose);
  CHECK_FALSE(std::get<OwnerOptions>(*loose).strict);
  CHECK(std::get<OwnerOptions>(*loose).local_socket == "/s");
  CHECK(std::get<OwnerOptions>(*loose).password_db.empty());
  const auto passwords = parse_options(
      {{"mode", "owner"}, {"account", "acme"}, {"credentials", "strict"}, {"password_db", "/srv/owner.db"}});
  REQUIRE(passwords);
  CHECK(std::get<OwnerOptions>(*passwords).password_db == "/srv/owner.db");
  CHECK(error_of({{"mode", "owner"}, {"account", "acme"}, {"credentials", "lose"}}) ==
        "plugin_opt_credentials: must be strict or loose");
  CHECK(error_of({{"mode", "owner"}, {"account", "acme"}}) == "plugin_opt_credentials: missing");
  CHECK_FALSE(
      error_of({{"mode", "owner"}, {"account", "acme"}, {"credentials", "strict"}, {"admission_db", "x"}}).empty());
}

TEST_CASE("without a mode nothing starts") {
  CHECK(error_of({}) == "plugin_opt_mode: must be provision or owner");
  CHECK(error_of({{"mode", "both"}}) == "plugin_opt_mode: must be provision or owner");
}
