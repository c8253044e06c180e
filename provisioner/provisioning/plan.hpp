// What a device gets, worked out from its request, profile and account. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"
#include "provisioner/provisioning/dialect.hpp"
#include "provisioner/provisioning/model.hpp"

namespace fleet::provisioner {

// The values of ${clientId}, ${labels.NAME} and ${params.NAME} put in; "$${" becomes "${", any other "$" stays.
// kInvalidArgument for an unknown or unclosed placeholder or a label or parameter that the request does not have; the
// message names it, and holds no value.
Result<std::string> render(std::string_view text, const ProvisionRequest& request);

// Whether the account's passwords are bound to the client id as the request counts on; kInvalidArgument says what to do.
Result<void> check_tight(const ProvisionRequest& request, const Account& account);

// The request's own components, or else the profile's, for this device, rendered; each value still has its type, else kInvalidArgument naming
// component and property. The owner connection (edc §4.6) comes first if the profile does not have it; the platform
// builds it from the account for a client certificate, and what the profile sets goes before. Its broker-url has its port
// and is mqtts://, or mqtt:// for a request without provisionSecureURL whose account has passwords; kInvalidArgument if
// that is not so, or the request's deviceCredentialsTight not the account's.
Result<protocol::Configurations> render_configuration(const ProvisionRequest& request, const Profile& profile,
                                                      const Account& account);

// Puts a password into the owner connection, and a username unless the operator's configuration has one; returns that
// username.
std::string give_owner_login(protocol::Configurations& configurations, const std::string& username,
                             const Secret& password);

// Puts that username and password into the owner connection, also where the operator's configuration has a username: they
// are what the owner's broker has been told.
void keep_owner_login(protocol::Configurations& configurations, const std::string& username, const Secret& password);

// The packages for this device, the request's own or the profile's, their URLs rendered; kInvalidArgument naming the
// package, also for a URL that is not http or https.
Result<std::vector<Package>> render_packages(const ProvisionRequest& request, const Profile& profile);

// The steps in the order of edc §4, the configuration last. The chains are PEM texts, leaf first, without the root;
// no device chain: the device gets no certificate (edc §4 "Without"). `packages` are the steps that bring them.
std::vector<StepContent> make_plan(const std::string& signing_chain_pem, std::vector<std::string> device_chain_pem,
                                   const Account& account, std::vector<StepContent> packages,
                                   protocol::Configurations configurations);

// What is sent first to a device whose hello held no signing request; behind its reply comes the rest of make_plan
// (edc §4.4).
std::vector<StepContent> make_plan_without_key(const std::string& signing_chain_pem, const std::string& client_id);

StepKind kind_of(const StepContent& content);

// One phrase for the timeline, without secrets: "configuration of 3 components".
std::string summary_of(const StepContent& content);

}  // namespace fleet::provisioner
