#include "provisioner/owner/connector.hpp"

#include <boost/json.hpp>

#include "provisioner/owner/command.hpp"
#include "provisioner/owner/projection.hpp"

namespace fleet::provisioner {
namespace {

constexpr int kTryAgain = 75;  // EX_TEMPFAIL

Result<void> by_command(const std::vector<std::string>& command, const OwnerLogin& login,
                        const std::atomic<bool>& stopping) {
  const boost::json::object object{{"account", login.account},
                                   {"clientId", login.client_id},
                                   {"username", login.username},
                                   {"password", login.password.reveal()},
                                   {"deviceCredentialsTight", login.strict ? "STRICT" : "LOOSE"}};
  const Secret input(boost::json::serialize(object) + "\n");
  TRY_ASSIGN(const CommandResult result, run_command(command, input, kConnectorLimit, stopping));
  if (result.exit_code == 0) return {};
  const std::string said = result.errors.empty() ? "" : ": " + result.errors;
  if (result.exit_code == kTryAgain) return fail(ErrorCode::kUnavailable, "{} says: try again{}", command.front(), said);
  return fail(ErrorCode::kInvalidArgument, "{} ended with exit code {}{}", command.front(), result.exit_code, said);
}

}  // namespace

Result<void> hand_over(const OwnerConnector& connector, const OwnerLogin& login, const std::atomic<bool>& stopping) {
  if (!connector.command.empty()) return by_command(connector.command, login, stopping);
  return write_owner_login(connector.database, login);
}

}  // namespace fleet::provisioner
