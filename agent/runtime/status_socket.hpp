// The running agent's answer to `provision-agent status`: a unix socket in the state folder. Who connects is sent one
// JSON text (status.hpp), then the connection is closed; nothing is read.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>

#include "agent/runtime/status.hpp"
#include "core/base/result.hpp"

namespace fleet::agent {

// STATE/agent.sock, mode 0600, while it lives. On the thread of the io_context.
class StatusServer {
 public:
  StatusServer(boost::asio::io_context& io, std::filesystem::path state_dir, std::function<std::string()> answer)
      : state_dir_(std::move(state_dir)), answer_(std::move(answer)), acceptor_(io) {}
  ~StatusServer();
  StatusServer(const StatusServer&) = delete;
  StatusServer& operator=(const StatusServer&) = delete;

  // Replaces what a killed agent has left: the caller holds the folder's lock.
  Result<void> start();

 private:
  void accept();

  std::filesystem::path state_dir_;
  std::function<std::string()> answer_;
  boost::asio::local::stream_protocol::acceptor acceptor_;
};

// What the agent that runs on `state_dir` says. kNotFound: none runs; kTimedOut: it does not answer within 2 s;
// kPermissionDenied; kMalformed.
Result<AgentStatus> ask_agent(const std::filesystem::path& state_dir);

}  // namespace fleet::agent
