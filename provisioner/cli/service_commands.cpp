// init, renew, serve: commands that work on the data folder themselves.
#include <sysexits.h>

#include "provisioner/cli/commands.hpp"
#include "provisioner/cli/output.hpp"

namespace fleet::provisioner {

Result<int> run_init(const InitOptions& options) {
  TRY(init(options));
  const std::string folder = options.layout.folder.string();
  print(
      fmt::format("made {}\n"
                  "  settings        {}\n"
                  "  platform root   {} (install it on devices: broker-ca-file, platform-root-file)\n"
                  "next: provisioner serve --data {}\n",
                  folder, options.layout.settings().string(), (options.layout.pki() / "root.crt").string(), folder));
  return EX_OK;
}

Result<int> renew_signing_leaf(const DataLayout& layout) {
  TRY(renew_signing(layout));
  print("renewed the signing certificate; restart the service to use it\n");
  return EX_OK;
}

Result<int> renew_broker_leaf(const DataLayout& layout, const std::vector<std::string>& hosts) {
  TRY(renew_broker(layout, hosts));
  print("renewed the broker's certificate; restart the service to use it\n");
  return EX_OK;
}

Result<int> print_broker_config(const DataLayout& layout) {
  TRY_ASSIGN(const BrokerConfiguration configuration, broker_configuration(layout));
  print(configuration.text);
  if (configuration.managed) {
    print_error(fmt::format("note: {} has no `managed: false` below `broker:`, so the provisioner starts a Mosquitto of "
                            "its own on the same ports",
                            layout.settings().string()));
  }
  return EX_OK;
}

Result<int> run_service(const DataLayout& layout, bool only_check) {
  if (!only_check) {
    TRY(serve(layout));
    return EX_OK;
  }
  TRY(check(layout));
  print(fmt::format("{}: good\n", layout.settings().string()));
  return EX_OK;
}

}  // namespace fleet::provisioner
