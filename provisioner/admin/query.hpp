// What callers ask for: the parameters of lists, as they stand in an address or in a body. Private to provisioner/admin.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"
#include "provisioner/store/store.hpp"

namespace fleet::provisioner {

// The parts of `text` between separators, views into it; one more than there are separators.
std::vector<std::string_view> split(std::string_view text, char separator);

// "status=FAILED&status=ABANDONED&label=site%3Dnorth&search=1001&name=gw-1&after=gw-1&limit=100"; kMalformed names what
// is wrong.
Result<RequestFilter> parse_request_filter(std::string_view query);

// "clientId=…&expiresBefore=2027-01-01&after=…&limit=…"; `after` is what certificate_place() made.
Result<CertificateFilter> parse_certificate_filter(std::string_view query);
std::string certificate_place(const IssuedCertificate& certificate);

// "since=2027-01-01&clientId=…&kind=refused&limit=…"
Result<AuditFilter> parse_audit_filter(std::string_view query);

struct ProgressQuery {
  RequestFilter filter;
  std::size_t reasons = 5;     // so many of the most frequent
  std::size_t unfinished = 0;  // so many requests that are not COMPLETED
};
// {"names": […], "labels": {…}, "search": "…", "reasons": 5, "unfinished": 20}; all may be left out. In a body, since
// the names may be those of a whole fleet. kInvalidArgument, kMalformed.
Result<ProgressQuery> parse_progress_query(std::string_view body);

// Takes `key=true` or `key=false` out of a query; false if it is not there.
Result<bool> take_flag(std::string& query, std::string_view key);

}  // namespace fleet::provisioner
