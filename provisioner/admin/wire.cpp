#include "provisioner/admin/wire.hpp"

#include <boost/json.hpp>

namespace fleet::provisioner {
namespace {

namespace json = boost::json;

int http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kMalformed:
      return 400;
    case ErrorCode::kInvalidArgument:
      return 422;
    case ErrorCode::kUnauthenticated:
    case ErrorCode::kPermissionDenied:
      return 403;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kUnsupported:
      return 405;
    case ErrorCode::kAlreadyExists:
    case ErrorCode::kConflict:
      return 409;
    case ErrorCode::kExpired:
      return 410;
    case ErrorCode::kLimitExceeded:
      return 413;
    case ErrorCode::kUnavailable:
      return 503;
    case ErrorCode::kTimedOut:
      return 408;
    case ErrorCode::kNoSpace:
      return 507;
    case ErrorCode::kIo:
    case ErrorCode::kCorrupt:
    case ErrorCode::kInternal:
      return 500;
  }
  return 500;
}

ErrorCode code_of(std::string_view name) {
  for (int i = 0; i <= static_cast<int>(ErrorCode::kInternal); ++i) {
    if (to_string(static_cast<ErrorCode>(i)) == name) return static_cast<ErrorCode>(i);
  }
  return ErrorCode::kInternal;
}

std::string text_of(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

DocumentProblem problem_of(const json::object& object) {
  DocumentProblem problem;
  if (const json::value* number = object.if_contains("document"); number != nullptr && number->is_int64()) {
    problem.document = static_cast<std::size_t>(number->get_int64());
  }
  problem.path = text_of(object, "path");
  problem.message = text_of(object, "message");
  problem.code = code_of(text_of(object, "code"));
  return problem;
}

AdminFailure unreadable(int status) {
  return {{ErrorCode::kInternal, fmt::format("the service answered {} without saying why", status)}, {}};
}

}  // namespace

AdminReply reply_with(const json::value& body) {
  return {200, json::serialize(body) + "\n"};
}

AdminReply reply_with(const Error& error, const std::vector<DocumentProblem>& details) {
  json::object body{{"code", to_string(error.code)}, {"message", error.message}};
  if (!details.empty()) {
    json::array list;
    for (const DocumentProblem& problem : details) {
      list.push_back({{"document", problem.document},
                      {"path", problem.path},
                      {"message", problem.message},
                      {"code", to_string(problem.code)}});
    }
    body["details"] = std::move(list);
  }
  return {http_status(error.code), json::serialize(json::object{{"error", std::move(body)}}) + "\n"};
}

tl::expected<json::value, AdminFailure> read_reply(const AdminReply& reply) {
  boost::system::error_code malformed;
  json::value body = json::parse(reply.body, malformed);
  if (malformed || !body.is_object()) return tl::unexpected(unreadable(reply.status));
  if (reply.status == 200) return body;
  const json::value* error = body.get_object().if_contains("error");
  if (error == nullptr || !error->is_object()) return tl::unexpected(unreadable(reply.status));
  const json::object& object = error->get_object();
  AdminFailure failure{{code_of(text_of(object, "code")), text_of(object, "message")}, {}};
  if (const json::value* details = object.if_contains("details"); details != nullptr && details->is_array()) {
    for (const json::value& detail : details->get_array()) {
      if (detail.is_object()) failure.details.push_back(problem_of(detail.get_object()));
    }
  }
  return tl::unexpected(std::move(failure));
}

}  // namespace fleet::provisioner
