// The packages of the running service: their files, the links to them, and the server that gives them out, which listens
// once a package is to be downloaded from here.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "core/base/result.hpp"
#include "provisioner/packages/folder.hpp"
#include "provisioner/packages/links.hpp"
#include "provisioner/packages/server.hpp"
#include "provisioner/provisioning/executor.hpp"
#include "provisioner/service/foundation.hpp"
#include "provisioner/service/package_sweep.hpp"
#include "provisioner/store/store.hpp"

namespace fleet::provisioner {

// On the thread of `io`, but for what it gives to the executor, which is thread-safe.
class PackageDesk {
 public:
  // Makes folder and key if they are not there yet. `store` outlives it until stop().
  static Result<std::unique_ptr<PackageDesk>> open(const DataLayout& layout, const Foundation& foundation,
                                                   boost::asio::io_context& io, Store& store);
  PackageDesk(boost::asio::io_context& io, Store& store, std::shared_ptr<const PackageFolder> folder, PackageLinks links,
              PackageServerSettings settings);

  // Removes files that nothing names any more, then and every ten minutes (PackageSweep), and listens if there is
  // something to download. A port that is taken is tried again until it is free: provisioning goes on without it.
  Result<void> start();
  // The same after an apply, for the files that it dropped.
  void on_applied(std::vector<std::string> dropped);
  void stop();

  // What the executor brings packages with.
  void equip(ExecutorSettings& settings) const;
  std::shared_ptr<const PackageFolder> folder() const { return folder_; }

 private:
  void listen();
  void sweep_later();

  boost::asio::steady_timer retry_timer_;
  boost::asio::steady_timer sweep_timer_;
  Store& store_;
  std::shared_ptr<const PackageFolder> folder_;
  std::shared_ptr<const PackageLinks> links_;
  std::shared_ptr<PackageSweep> sweep_;  // on the store's thread
  std::unique_ptr<PackageServer> server_;
  bool stopped_ = false;
};

}  // namespace fleet::provisioner
