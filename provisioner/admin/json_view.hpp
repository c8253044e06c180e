// How the admin API shows the domain as JSON. Never shows secrets, verifiers, payloads, or the rids of steps.
#pragma once

#include <optional>
#include <vector>

#include <boost/json/value.hpp>

#include "provisioner/manifest/apply.hpp"
#include "provisioner/provisioning/model.hpp"
#include "provisioner/store/store.hpp"

namespace fleet::provisioner {

// A request as lists show it.
boost::json::object to_json(const ProvisionRequest& request);
boost::json::object to_json(const Account& account);
boost::json::object to_json(const Profile& profile);
boost::json::object to_json(const RequestProgress& progress);
// With the fingerprint of its key; without the certificate itself.
boost::json::object to_json(const CertificateRecord& record);

// Everything about one request.
struct RequestDescription {
  ProvisionRequest request;
  std::optional<Profile> profile;  // none if it is gone
  std::optional<Account> account;
  struct AttemptAndSteps {
    Attempt attempt;
    std::vector<Step> steps;
  };
  std::vector<AttemptAndSteps> attempts;  // oldest first
  std::vector<IssuedCertificate> certificates;
  std::vector<TimelineEntry> timeline;
};
// {"request": {…}, "attempts": […], "certificates": […], "timeline": […]}
boost::json::object to_json(const RequestDescription& description);

// {"audit": […]}
boost::json::object to_json(const std::vector<AuditEntry>& entries);

// {"applied": […], "secrets": […]}
boost::json::object to_json(const ApplyReport& report);
// Which secrets would be made, instead of the secrets.
boost::json::object to_json_of_check(const ApplyReport& report);

}  // namespace fleet::provisioner
