// What both ends of the admin socket agree on: replies, and errors as JSON. Errors are
//   {"error": {"code": "not_found", "message": "what: why", "details": [{"document": 0, "path": "spec.x", "message":
//   "why", "code": "conflict"}]}}
// with the HTTP status that fits; `details` only where documents were refused.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <boost/json/value.hpp>

#include "core/base/result.hpp"

namespace fleet::provisioner {

// The largest body of a request: a whole fleet in one apply.
inline constexpr std::size_t kMaxAdminBody = 64UL * 1024 * 1024;

struct AdminReply {
  int status = 200;
  std::string body;  // JSON
};

// What is wrong with one of the documents of an apply.
struct DocumentProblem {
  std::size_t document = 0;
  std::string path;
  std::string message;
  ErrorCode code = ErrorCode::kInvalidArgument;
};

AdminReply reply_with(const boost::json::value& body);
AdminReply reply_with(const Error& error, const std::vector<DocumentProblem>& details = {});

// A reply as the caller reads it: the body of a success, or the error with its details.
struct AdminFailure {
  Error error;
  std::vector<DocumentProblem> details;
};
tl::expected<boost::json::value, AdminFailure> read_reply(const AdminReply& reply);

}  // namespace fleet::provisioner
