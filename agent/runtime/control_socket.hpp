// The running agent's ear for `provision-agent status` and `rollback`: a unix socket in the state folder. Who connects
// sends one word and a line break, is sent one JSON text, and the connection is closed:
//
//   status      what status.hpp says
//   rollback    {"generation": N} once that generation is in force again and the hook has been told, or
//               {"error": {"code", "message"}}
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>

#include "agent/runtime/status.hpp"
#include "core/base/result.hpp"

namespace fleet::agent {

// STATE/agent.sock, mode 0600, while it lives: for the agent's own user and root. On the thread of the io_context.
class ControlServer {
 public:
  // To be called once; if it never is, the connection is closed without an answer.
  using RolledBackTo = std::function<void(const Result<std::uint64_t>& generation)>;
  struct Handlers {
    std::function<AgentStatus()> status;
    std::function<void(RolledBackTo answer)> roll_back;
  };

  ControlServer(boost::asio::io_context& io, std::filesystem::path state_dir, Handlers handlers)
      : state_dir_(std::move(state_dir)), handlers_(std::move(handlers)), acceptor_(io) {}
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  // Replaces what a killed agent has left: the caller holds the folder's lock.
  Result<void> start();

 private:
  struct Peer;

  void accept();
  void listen(const std::shared_ptr<Peer>& peer);
  void obey(const std::shared_ptr<Peer>& peer);

  std::filesystem::path state_dir_;
  Handlers handlers_;
  boost::asio::local::stream_protocol::acceptor acceptor_;
};

// What the agent that runs on `state_dir` says. kNotFound: none runs; kTimedOut: it does not answer within 2 s;
// kPermissionDenied; kMalformed.
Result<AgentStatus> ask_agent(const std::filesystem::path& state_dir);

// Has the agent that runs on `state_dir` go back to the generation before, and waits until its hook has been told, for
// two minutes at most. The generation in force then; nullopt: no agent runs. kConflict: not now; kNotFound: there is
// none before; the others of ask_agent().
Result<std::optional<std::uint64_t>> ask_to_roll_back(const std::filesystem::path& state_dir);

}  // namespace fleet::agent
