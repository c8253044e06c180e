// The admin socket of a provisioner without its broker, served by a thread of its own.
#pragma once

#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json/value.hpp>

#include "provisioner/admin/client.hpp"
#include "provisioner/admin/server.hpp"
#include "tests/unit/provisioner/manifest/platform.hpp"

namespace fleet::provisioner::test {

class AdminFixture {
 public:
  AdminFixture();
  ~AdminFixture();

  AdminReply call(std::string_view method, std::string_view target, std::string body = {});
  // The body of a call that must succeed.
  boost::json::object get(std::string_view target);
  // POST /v1/apply of YAML documents.
  AdminReply apply(const std::string& yaml, const std::string& more = "");
  void apply_account_and_profile();
  // Client ids whose connections were ended so far.
  std::vector<std::string> kicked();
  // Package files that the last apply dropped.
  std::vector<std::string> dropped();

  std::filesystem::path socket() const { return platform.folder / "admin.sock"; }

 private:
  boost::asio::io_context io_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{io_.get_executor()};
  std::mutex mutex_;
  std::vector<std::string> kicked_;
  std::vector<std::string> dropped_;

 public:
  Platform platform;
  std::unique_ptr<AdminServer> server;

 private:
  std::thread thread_;
};

// The JSON of a reply, and its error code ("" for none).
boost::json::object json_of(const AdminReply& reply);
std::string error_code(const AdminReply& reply);

// Sends bytes to the socket as they are, shuts the sending side, and returns all that comes back within 5 s.
std::string talk(const std::filesystem::path& socket, std::string_view bytes);

}  // namespace fleet::provisioner::test
