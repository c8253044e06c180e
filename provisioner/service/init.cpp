#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>

#include "core/base/file.hpp"
#include "core/base/secret.hpp"
#include "core/protocol/topic.hpp"
#include "provisioner/ca/pki.hpp"
#include "provisioner/service/service.hpp"

namespace fleet::provisioner {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kVerifierKeySize = 32;

std::string settings_text(const InitOptions& options) {
  const bool v6 = options.listen.address.find(':') != std::string::npos;
  return fmt::format(
      "# Settings of the provisioner. Check a change with: provisioner serve --check-config\n"
      "account: {}                 # of the provision broker: a level of its topics\n"
      "provisionerId: provisioner    # the provisioner's own client id\n"
      "logLevel: info                # debug, info, warn, error\n"
      "# store: postgresql://USER@HOST/DATABASE   # shared by several cells; default: SQLite in this folder\n"
      "# cell: NAME                  # of this one among them; default: the host's name\n"
      "broker:\n"
      "  listen: \"{}:{}\"     # TLS\n"
      "  # plainListen: \"127.0.0.1:1883\"   # without TLS: for a closed network only\n"
      "  # managed: false                    # another supervisor runs it; see: provisioner broker-config\n"
      "  # user: mosquitto                  # whom the broker runs as, if the provisioner is started as root\n"
      "  # mosquitto: /usr/sbin/mosquitto\n"
      "  # plugin: /usr/lib/provisioner/provisioner_auth.so\n"
      "# packages:                         # serves the files of packages over HTTPS, once there are some\n"
      "#   listen: \"0.0.0.0:8885\"\n"
      "#   url: https://NAME:8885            # how devices reach it; default: the broker's first host name\n",
      options.account, v6 ? "[" + options.listen.address + "]" : options.listen.address, options.listen.port);
}

Result<void> fill(const DataLayout& layout, const InitOptions& options) {
  // 0711: the broker's user passes through to broker/, and lists nothing
  TRY(make_folder(layout.folder, 0711));
  TRY(create_file(layout.settings(), settings_text(options), 0600));
  TRY(make_folder(layout.broker()));
  TRY(create_file(layout.verifier_key(), random_bytes(kVerifierKeySize)));
  PkiOptions pki;
  pki.broker_hosts = options.hosts;
  return init_pki(layout.pki(), pki, wall_now());
}

}  // namespace

Result<void> init(const InitOptions& options) {
  if (!protocol::is_account(options.account)) {
    return fail(ErrorCode::kInvalidArgument, "account '{}': must be 1 to 64 of A-Z a-z 0-9 _ -", options.account);
  }
  const fs::path folder = options.layout.folder;
  std::error_code error;
  if (fs::exists(folder, error) && !fs::is_empty(folder, error)) {
    return fail(ErrorCode::kAlreadyExists, "{}: not empty: init makes a new data folder and overwrites nothing", folder.string());
  }
  const fs::path parent = folder.has_parent_path() ? folder.parent_path() : fs::path(".");
  const DataLayout draft{parent / fmt::format(".{}.{}.tmp", folder.filename().string(), to_hex(random_bytes(6)))};
  auto made = fill(draft, options);
  // onto nothing or onto an empty folder; rename(2) does either in one step
  if (made && ::rename(draft.folder.c_str(), folder.c_str()) != 0) made = fail(errno_error(errno, folder.string()));
  if (!made) {
    if (auto removed = fleet::remove_all(draft.folder); !removed) return fail(with_context(removed.error(), made.error().message));
    return made;
  }
  return sync_folder(parent);
}

Result<void> renew_signing(const DataLayout& layout) { return renew_signing_certificate(layout.pki(), wall_now()); }

Result<void> renew_broker(const DataLayout& layout, const std::vector<std::string>& hosts) {
  return renew_broker_certificate(layout.pki(), hosts, wall_now());
}

}  // namespace fleet::provisioner
