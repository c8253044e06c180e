#include "provisioner/provisioning/plan.hpp"

#include <string>

#include <doctest/doctest.h>

using namespace fleet;
using namespace fleet::provisioner;
using protocol::PropertyType;

namespace {

ProvisionRequest gateway() {
  ProvisionRequest request;
  request.name = "gw-1";
  request.client_id = "GW-1";
  request.labels = {{"site", "graz"}};
  request.params = {{"port", "502"}, {"wifi", "s3cret-of-the-plant"}};
  return request;
}

Account plant() {
  return {"plant", "mqtts://broker.plant:8883", {"CA one", "CA two"}};
}

Profile profile_with(protocol::Configurations configuration) {
  Profile profile;
  profile.name = "standard";
  profile.configuration = std::move(configuration);
  return profile;
}

}  // namespace

TEST_CASE("Placeholders become the request's values") {
  const ProvisionRequest request = gateway();
  CHECK(render("", request).value() == "");
  CHECK(render("no placeholder, 5 $ and a }", request).value() == "no placeholder, 5 $ and a }");
  CHECK(render("${clientId}", request).value() == "GW-1");
  CHECK(render("a/${labels.site}/${clientId}:${params.port}/z", request).value() == "a/graz/GW-1:502/z");
  CHECK(render("$${clientId}", request).value() == "${clientId}");
  CHECK(render("$$${clientId}", request).value() == "$${clientId}");
  CHECK(render("$${${clientId}}", request).value() == "${GW-1}");
  CHECK(render("$", request).value() == "$");
  CHECK(render("$$", request).value() == "$$");
}

TEST_CASE("A value that looks like a placeholder is not rendered again") {
  ProvisionRequest request = gateway();
  request.labels["site"] = "${params.wifi}";
  CHECK(render("${labels.site}", request).value() == "${params.wifi}");
}

TEST_CASE("What cannot be rendered is named") {
  const ProvisionRequest request = gateway();
  for (const auto* const text : {"${", "${clientId", "${}", "${clientid}", "${labels.}", "${labels.floor}",
                                 "${params.floor}", "${labels}", "${ clientId }"}) {
    CAPTURE(text);
    const auto rendered = render(text, request);
    REQUIRE(!rendered.has_value());
    CHECK(rendered.error().code == ErrorCode::kInvalidArgument);
  }
  CHECK(render("${params.floor}", request).error().message == "the request has no parameter \"floor\"");
}

TEST_CASE("The platform builds the owner connection itself") {
  const auto configurations = render_configuration(gateway(), profile_with({}), plant());
  REQUIRE(configurations.has_value());
  REQUIRE(configurations->size() == 1);
  const protocol::ComponentConfiguration& connection = configurations->front();
  CHECK(connection.pid == protocol::kMqttTransportPid);
  CHECK(connection.value("broker-url") == "mqtts://broker.plant:8883");
  CHECK(connection.value("topic.context.account-name") == "plant");
  CHECK(connection.value("client-id") == "GW-1");
  CHECK(connection.value("lwt.topic") == "$EDC/plant/GW-1/MQTT/LWT");
  CHECK(connection.find("keep-alive")->type == PropertyType::kInteger);
  CHECK(connection.value("keep-alive") == "30");
  CHECK(connection.find("clean-session")->type == PropertyType::kBoolean);
  CHECK(connection.find("username") == nullptr);
  CHECK(connection.find("password") == nullptr);
  CHECK(protocol::to_xml(*configurations).has_value());
}

TEST_CASE("The owner connection has the protocol's properties, each of its type") {
  const auto configurations = render_configuration(gateway(), profile_with({}), plant());
  REQUIRE(configurations.has_value());
  std::vector<std::string> lines;
  for (const protocol::Property& property : configurations->front().properties) {
    lines.push_back(fmt::format("{} {} {}", to_string(property.type), property.name, fmt::join(property.values, ",")));
    CHECK_FALSE(property.array);
  }
  CHECK(lines == std::vector<std::string>{"String broker-url mqtts://broker.plant:8883",
                                          "String topic.context.account-name plant", "String client-id GW-1",
                                          "Integer keep-alive 30", "Integer timeout 20", "Boolean clean-session true",
                                          "String lwt.topic $EDC/plant/GW-1/MQTT/LWT", "Integer lwt.qos 0",
                                          "Boolean lwt.retain false", "Integer protocol-version 4"});
}

TEST_CASE("What the profile says about the owner connection goes before what the platform builds") {
  const Profile profile = profile_with({
      {"org.plant.Modbus", {{"port", PropertyType::kInteger, false, false, {"${params.port}"}}}},
      {std::string(protocol::kMqttTransportPid),
       {{"keep-alive", PropertyType::kInteger, false, false, {"60"}},
        {"lwt.payload", PropertyType::kString, false, false, {"gone ${clientId}"}}}},
  });
  const auto configurations = render_configuration(gateway(), profile, plant());
  REQUIRE(configurations.has_value());
  REQUIRE(configurations->size() == 2);
  CHECK((*configurations)[0].value("port") == "502");
  const protocol::ComponentConfiguration& connection = (*configurations)[1];
  CHECK(connection.value("keep-alive") == "60");
  CHECK(connection.value("lwt.payload") == "gone GW-1");
  CHECK(connection.value("broker-url") == "mqtts://broker.plant:8883");
  CHECK(connection.properties.size() == 11);
}

namespace {

Account plant_with_passwords(const std::string& url) {
  Account account = plant();
  account.broker_url = url;
  account.credentials = OwnerCredentials::kPassword;
  return account;
}

// The broker-url that the device gets, or why it gets none.
std::string delivered_url(const ProvisionRequest& request, const Account& account, const std::string& override_by = "") {
  Profile profile = profile_with({});
  if (!override_by.empty()) {
    profile = profile_with({{std::string(protocol::kMqttTransportPid),
                             {{"broker-url", PropertyType::kString, false, false, {override_by}}}}});
  }
  const auto configurations = render_configuration(request, profile, account);
  return configurations ? std::string(configurations->front().value("broker-url")) : configurations.error().message;
}

bool says(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("The delivered broker-url is mqtts://, and has its port") {
  Account account = plant();
  account.broker_url = "mqtts://broker.plant";
  CHECK(delivered_url(gateway(), account) == "mqtts://broker.plant:8883");
  CHECK(delivered_url(gateway(), account, "mqtts://${labels.site}.plant") == "mqtts://graz.plant:8883");
  CHECK(delivered_url(gateway(), account, "mqtts://broker.plant:9883") == "mqtts://broker.plant:9883");
  const std::string why = delivered_url(gateway(), account, "mqtt://${params.wifi}.plant");
  CHECK(says(why, "MqttDataTransport: broker-url: it is mqtt://, which is not secure: give account plant a broker.url of mqtts://"));
  CHECK_FALSE(says(why, "provisionSecureURL"));  // no way out for an account with certificates
  CHECK_FALSE(says(why, "s3cret"));
  for (const auto* const no_url : {"${params.wifi}", "unix:/run/${params.wifi}", "wss://${params.wifi}"}) {
    const std::string unfit = delivered_url(gateway(), account, no_url);
    CHECK(says(unfit, "it is no URL of a broker"));
    CHECK_FALSE(says(unfit, "s3cret"));
  }
}

TEST_CASE("Without provisionSecureURL the delivered broker-url is mqtt://, of an account with passwords only") {
  ProvisionRequest request = gateway();
  const Account plain = plant_with_passwords("mqtt://broker.plant");
  CHECK(says(delivered_url(request, plain), "or say provisionSecureURL: false in the request"));
  request.secure_url = false;
  CHECK(delivered_url(request, plain) == "mqtt://broker.plant:1883");
  CHECK(delivered_url(request, plain, "mqtt://other.plant:1884") == "mqtt://other.plant:1884");
  CHECK(says(delivered_url(request, plant_with_passwords("mqtts://broker.plant")),
             "provisionSecureURL is false, but it is mqtts://: leave provisionSecureURL out"));
  for (const std::string url : {"", "mqtt://broker.plant"}) {
    CHECK(says(delivered_url(request, plant(), url), "provisionSecureURL: false is for accounts with credentials: password"));
  }
}

TEST_CASE("A request that counts on other deviceCredentialsTight than its account's is not rendered") {
  ProvisionRequest request = gateway();
  for (const CredentialsTight of_account :
       {CredentialsTight::kInherited, CredentialsTight::kStrict, CredentialsTight::kLoose}) {
    Account account = plant_with_passwords("mqtts://broker.plant");
    account.tight = of_account;
    const bool strict = of_account != CredentialsTight::kLoose;
    CAPTURE(to_string(of_account));
    request.tight = CredentialsTight::kInherited;
    CHECK(render_configuration(request, profile_with({}), account).has_value());
    request.tight = CredentialsTight::kStrict;
    CHECK(render_configuration(request, profile_with({}), account).has_value() == strict);
    request.tight = CredentialsTight::kLoose;
    CHECK(render_configuration(request, profile_with({}), account).has_value() == !strict);
  }
  request.tight = CredentialsTight::kStrict;
  CHECK(says(delivered_url(request, plant()), "deviceCredentialsTight is for accounts with credentials: password"));
}

TEST_CASE("A profile can set will, session, version and timeout of the owner connection; Kura's placeholders reach the device") {
  const Profile profile = profile_with({
      {std::string(protocol::kMqttTransportPid),
       {{"lwt.topic", PropertyType::kString, false, false, {"$EDC/#account-name/#client-id/MQTT/GONE"}},
        {"lwt.payload", PropertyType::kString, false, false, {"gone"}},
        {"lwt.qos", PropertyType::kInteger, false, false, {"1"}},
        {"lwt.retain", PropertyType::kBoolean, false, false, {"true"}},
        {"timeout", PropertyType::kInteger, false, false, {"7"}},
        {"clean-session", PropertyType::kBoolean, false, false, {"false"}},
        {"protocol-version", PropertyType::kInteger, false, false, {"5"}}}},
  });
  const auto configurations = render_configuration(gateway(), profile, plant());
  REQUIRE(configurations.has_value());
  REQUIRE(configurations->size() == 1);
  for (const protocol::Property& wish : profile.configuration[0].properties) {
    CAPTURE(wish.name);
    REQUIRE(configurations->front().find(wish.name) != nullptr);
    CHECK(*configurations->front().find(wish.name) == wish);
  }
  CHECK(configurations->front().properties.size() == 11);
}

TEST_CASE("Every value of an array is rendered") {
  const Profile profile =
      profile_with({{"p", {{"hosts", PropertyType::kString, true, false, {"${labels.site}", "x", "${clientId}"}}}}});
  const auto configurations = render_configuration(gateway(), profile, plant());
  REQUIRE(configurations.has_value());
  CHECK((*configurations)[1].find("hosts")->values == std::vector<std::string>{"graz", "x", "GW-1"});
}

TEST_CASE("A rendered value still has its property's type, and the error names the place but no value") {
  const Profile profile =
      profile_with({{"org.plant.Wifi", {{"channel", PropertyType::kInteger, false, false, {"${params.wifi}"}}}}});
  const auto configurations = render_configuration(gateway(), profile, plant());
  REQUIRE(!configurations.has_value());
  CHECK(configurations.error().code == ErrorCode::kInvalidArgument);
  CHECK(configurations.error().message.find("org.plant.Wifi: channel") != std::string::npos);
  CHECK(configurations.error().message.find("s3cret") == std::string::npos);
}

TEST_CASE("The plan has the order of the protocol, the configuration last") {
  const auto plan = make_plan("signing chain", {"leaf", "device CA"}, plant(), {}, {{"p", {}}});
  REQUIRE(plan.size() == 5);
  CHECK(std::get<SigningCertificatesContent>(plan[0]).chain_pem == "signing chain");
  CHECK(std::get<DeviceCertificateContent>(plan[1]).chain_pem == std::vector<std::string>{"leaf", "device CA"});
  CHECK(std::get<TrustedCertificateContent>(plan[2]).number == 1);
  CHECK(std::get<TrustedCertificateContent>(plan[2]).certificate_pem == "CA one");
  CHECK(std::get<TrustedCertificateContent>(plan[3]).number == 2);
  CHECK(std::get<ConfigurationContent>(plan[4]).configurations.size() == 1);
  CHECK(kind_of(plan[3]) == StepKind::kTrustedCertificate);
  CHECK(summary_of(plan[4]) == "the configuration of 1 component");
}
