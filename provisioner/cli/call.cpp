#include "provisioner/cli/call.hpp"

#include <boost/json.hpp>

namespace fleet::provisioner {
namespace {

constexpr std::string_view kWho = "the service";

tl::expected<boost::json::object, AdminFailure> call(const DataLayout& layout, std::string_view method,
                                                     std::string_view target, std::string body) {
  auto reply = call_admin(layout.admin_socket(), method, target, std::move(body));
  if (!reply) return tl::unexpected(AdminFailure{with_context(std::move(reply).error(), kWho), {}});
  auto answer = read_reply(*reply);
  if (!answer) return tl::unexpected(std::move(answer).error());
  return std::move(answer->as_object());
}

}  // namespace

Result<std::string> ask_service(const DataLayout& layout, std::string_view method, std::string_view target,
                                std::string body, Seconds limit) {
  auto reply = call_admin(layout.admin_socket(), method, target, std::move(body), limit);
  if (!reply) return fail(with_context(std::move(reply).error(), kWho));
  if (reply->status == 200) return std::move(reply->body);
  auto answer = read_reply(*reply);
  if (!answer) return fail(std::move(answer).error().error);
  return fail(ErrorCode::kInternal, "the service answered {}", reply->status);
}

Result<boost::json::object> call_service(const DataLayout& layout, std::string_view method, std::string_view target) {
  auto answer = call(layout, method, target, {});
  if (!answer) return fail(std::move(answer).error().error);
  return std::move(*answer);
}

tl::expected<boost::json::object, AdminFailure> post_to_service(const DataLayout& layout, std::string_view target,
                                                                std::string body) {
  return call(layout, "POST", target, std::move(body));
}

}  // namespace fleet::provisioner
