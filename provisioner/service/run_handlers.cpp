#include "provisioner/service/run_handlers.hpp"

#include <exception>
#include <optional>
#include <string>

#include "core/base/log.hpp"

namespace fleet::provisioner {
namespace {

std::optional<std::string> exception_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "something that is no std::exception";
  }
  return std::nullopt;
}

}  // namespace

Result<void> run_handlers(boost::asio::io_context& io, const std::function<void()>& stop) {
  const auto run = [&] { io.run(); };
  const std::optional<std::string> thrown = exception_of(run);
  if (!thrown) return {};
  Error error{ErrorCode::kInternal, fmt::format("a handler of the service threw: {}", *thrown)};
  log::error("provisioner", error.message + "; stopping");
  auto again = exception_of(stop);
  if (!again) again = exception_of(run);
  if (again) log::error("provisioner", "not stopped in order", {{"why", *again}});
  return fail(std::move(error));
}

}  // namespace fleet::provisioner
