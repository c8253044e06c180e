// The operator's door: HTTP/1.1 with JSON on a unix socket that only the service's user (and root) can open.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"
#include "provisioner/packages/folder.hpp"
#include "provisioner/provisioning/executor.hpp"
#include "provisioner/store/store.hpp"

namespace fleet::provisioner {

struct AdminSettings {
  std::filesystem::path socket;
  Bytes verifier_key;
  std::string provisioner_id;            // reserved: no request may have it as client id
  std::function<void(Outcome)> deliver;  // what an operator's act makes the service say or cut off, after the commit
  std::function<std::string()> broker_state;  // "running", "restarting", … for GET /v1/status
  std::shared_ptr<const PackageFolder> packages;    // where uploads go; nullptr: there are none
  // After the commit of an apply: the package files that were named before it and are not any more by what it changed.
  std::function<void(std::vector<std::string> dropped)> on_applied{};
};

// Serves on the thread of `io`; work on data goes through the store. `store` outlives the server, and `executor` all
// the work that the store may still have queued when the server stops.
class AdminServer {
 public:
  AdminServer(boost::asio::io_context& io, AdminSettings settings, Store& store, const Executor& executor);
  ~AdminServer();
  // kIo, kPermissionDenied or kInvalidArgument (path too long) if the socket cannot be made.
  Result<void> start();
  // Stops accepting and closes connections; running work still commits.
  void stop();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace fleet::provisioner
