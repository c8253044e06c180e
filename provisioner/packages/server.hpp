// Gives package files to devices over HTTPS: GET and HEAD of signed links (links.hpp), one range a request, nothing else.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/base/result.hpp"
#include "core/base/time.hpp"
#include "core/crypto/tls.hpp"
#include "provisioner/packages/folder.hpp"
#include "provisioner/packages/links.hpp"

namespace fleet::provisioner {

struct PackageServerSettings {
  std::string address = "0.0.0.0";
  int port = 8885;  // 0: any free one, see port()
  crypto::TlsContext tls;
  std::size_t max_connections = 512;  // more have to wait
  std::size_t max_per_address = 128;  // more are closed at once; many devices may share an address
  Seconds request_limit{15};          // for the handshake, and again for the request
  Seconds chunk_limit{30};            // for 64 KiB: who is slower is cut off
};

// Whether the attempt of a link still goes on. Called on the server's thread; `answer` may be called from any thread, once.
using IsAlive = std::function<void(const PackageLink&, std::function<void(bool)> answer)>;

// Has a thread of its own: large files and slow readers hold up nobody's provisioning.
class PackageServer {
 public:
  PackageServer(PackageServerSettings settings, PackageFolder folder, PackageLinks links, IsAlive is_alive);
  // Stops, and joins the thread. Who answers for IsAlive may still do so afterwards.
  ~PackageServer();
  // Listens and serves; nothing if it does so already. kUnavailable, naming the address, if it cannot.
  Result<void> start();
  int port() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace fleet::provisioner
