#include "provisioner/owner/connector.hpp"

#include <algorithm>
#include <string>
#include <string_view>

#include <boost/json.hpp>

#include "provisioner/owner/command.hpp"
#include "provisioner/owner/projection.hpp"

namespace fleet::provisioner {
namespace {

constexpr int kTryAgain = 75;  // EX_TEMPFAIL
constexpr std::string_view kHidden = "***";
constexpr std::size_t kTellingPart = 4;  // a shorter part of a password is no loss

void hide(std::string& text, std::string_view secret) {
  if (secret.empty()) return;
  for (auto at = text.find(secret); at != std::string::npos; at = text.find(secret, at)) {
    text.replace(at, secret.size(), kHidden);
    at += kHidden.size();
  }
  // what is kept of a long text may end within it
  for (std::size_t size = std::min(secret.size() - 1, text.size()); size >= kTellingPart; --size) {
    if (!text.ends_with(secret.substr(0, size))) continue;
    text.replace(text.size() - size, size, kHidden);
    return;
  }
}

// What a command says is logged and shown: one that repeats its input must not bring the password there. As its input
// holds it too, that is escaped for JSON.
std::string without_password(std::string said, const Secret& password) {
  const std::string quoted = boost::json::serialize(boost::json::string(password.reveal()));
  hide(said, password.reveal());
  hide(said, std::string_view(quoted).substr(1, quoted.size() - 2));
  return said;
}

Result<void> by_command(const std::vector<std::string>& command, std::string_view action, const OwnerLogin& login,
                        const std::atomic<bool>& stopping) {
  const boost::json::object object{{"action", action},
                                   {"account", login.account},
                                   {"clientId", login.client_id},
                                   {"username", login.username},
                                   {"password", login.password.reveal()},
                                   {"deviceCredentialsTight", login.strict ? "STRICT" : "LOOSE"}};
  const Secret input(boost::json::serialize(object) + "\n");
  TRY_ASSIGN(const CommandResult result, run_command(command, input, kConnectorLimit, stopping));
  if (result.exit_code == 0) return {};
  const std::string said = result.errors.empty() ? "" : ": " + without_password(result.errors, login.password);
  if (result.exit_code == kTryAgain) return fail(ErrorCode::kUnavailable, "{} says: try again{}", command.front(), said);
  return fail(ErrorCode::kInvalidArgument, "{} ended with exit code {}{}", command.front(), result.exit_code, said);
}

}  // namespace

Result<void> hand_over(const OwnerConnector& connector, const OwnerLogin& login, const std::atomic<bool>& stopping) {
  if (!connector.command.empty()) return by_command(connector.command, "set", login, stopping);
  return write_owner_login(connector.database, login);
}

Result<void> take_back(const OwnerConnector& connector, const OwnerLogin& login, const std::atomic<bool>& stopping) {
  if (connector.command.empty()) return remove_owner_login(connector.database, login.client_id, login.username);
  OwnerLogin locked = login;
  locked.password = random_password();
  return by_command(connector.command, "remove", locked, stopping);
}

}  // namespace fleet::provisioner
