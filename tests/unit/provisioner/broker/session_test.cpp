// The provisioner's session with a broker whose plugin is older than the provisioner. That plugin cannot be had any more, so the
// test answers in its place.
#include "provisioner/broker/session.hpp"

#include <array>
#include <atomic>
#include <mutex>
#include <thread>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <doctest/doctest.h>

#include "provisioner/admission/outbound.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::provisioner {
namespace {

using Local = boost::asio::local::stream_protocol;

// Speaks as much MQTT 3.1.1 as a session needs to begin: grants all subscriptions but the one that is denied.
class OldBroker {
 public:
  OldBroker(const std::filesystem::path& socket, std::string_view denied)
      : acceptor_(io_, Local::endpoint(socket.string())), denied_(denied), thread_([this] { serve(); }) {}
  ~OldBroker() {
    stopping_ = true;
    boost::system::error_code ignored;
    Local::socket knock(io_);
    knock.connect(acceptor_.local_endpoint(), ignored);
    thread_.join();
  }

  int connections() const { return connections_; }
  int publishes() const { return publishes_; }
  std::vector<std::string> subscribed() const {
    const std::lock_guard lock(mutex_);
    return subscribed_;
  }

 private:
  void serve() {
    while (!stopping_) {
      Local::socket peer(io_);
      boost::system::error_code error;
      acceptor_.accept(peer, error);
      while (!error && !stopping_) error = answer(peer);
    }
  }

  boost::system::error_code answer(Local::socket& peer) {
    boost::system::error_code error;
    std::array<unsigned char, 2> head{};  // nothing here is longer than 127 bytes
    boost::asio::read(peer, boost::asio::buffer(head), error);
    std::string rest(head[1], '\0');
    if (!error) boost::asio::read(peer, boost::asio::buffer(rest), error);
    if (error) return error;
    std::string reply;
    switch (head[0] & 0xf0U) {
      case 0x10:  // CONNECT
        ++connections_;
        reply = std::string("\x20\x02\0\0", 4);
        break;
      case 0x80: {  // SUBSCRIBE
        const std::string filter = rest.substr(4, rest.size() - 5);
        reply = std::string("\x90\x03") + rest.substr(0, 2) + (filter == denied_ ? '\x80' : '\x01');
        const std::lock_guard lock(mutex_);
        subscribed_.push_back(filter);
        break;
      }
      case 0x30:  // PUBLISH
        ++publishes_;
        break;
      default:
        break;
    }
    if (!reply.empty()) boost::asio::write(peer, boost::asio::buffer(reply), error);
    return error;
  }

  boost::asio::io_context io_;
  Local::acceptor acceptor_;
  const std::string denied_;
  std::atomic<bool> stopping_ = false;
  std::atomic<int> connections_ = 0, publishes_ = 0;
  mutable std::mutex mutex_;
  std::vector<std::string> subscribed_;
  std::thread thread_;
};

TEST_CASE("a broker whose plugin takes no parcels is not sent any, and asked again") {
  for (const bool old : {true, false}) {
    CAPTURE(old);
    const test::TempFolder folder;
    const OldBroker broker(folder / "s", old ? kParcelsTaken : std::string_view("nothing"));
    boost::asio::io_context io;
    BrokerSessionHandlers handlers;
    bool told_ready = false;
    handlers.on_message = [](const Inbound&, const Bytes&) {};
    handlers.on_events = [](EventKind, const std::vector<BrokerEvent>&) {};
    handlers.on_ready = [&](bool ready) { told_ready = ready; };
    BrokerSession session(io, folder / "s", "provisioner", handlers);
    session.start();
    const auto until = [&](const std::function<bool()>& condition) {
      return test::eventually([&] {
        io.restart();
        io.run_for(std::chrono::milliseconds(10));
        return condition();
      });
    };
    CHECK(until([&] { return old ? broker.connections() >= 3 : session.ready(); }));
    CHECK(told_ready == !old);
    CHECK(session.publish("$EDC/acme/gw-1/CONF-V1/PUT/configurations", "conf") == !old);
    if (!old) CHECK(until([&] { return broker.publishes() == 1; }));
    CHECK(broker.publishes() == (old ? 0 : 1));
    const auto subscribed = broker.subscribed();
    REQUIRE(subscribed.size() >= 2);
    CHECK(subscribed[0] == kParcelsTaken);
    CHECK(subscribed[1] == (old ? kParcelsTaken : kEverything));
  }
}

}  // namespace
}  // namespace fleet::provisioner
