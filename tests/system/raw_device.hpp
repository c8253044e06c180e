// A device played by the test itself: it speaks to a real broker over real TLS, byte by byte as the test wants, so that
// it can do what a well-behaved agent never does. Everything runs on the test's own thread, inside the calls.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "core/crypto/key.hpp"
#include "core/mqtt/client.hpp"
#include "core/protocol/deploy.hpp"
#include "core/protocol/message.hpp"
#include "core/protocol/topic.hpp"
#include "tests/system/rig.hpp"

namespace fleet::test {

inline constexpr std::string_view kAccount = "provision";
inline constexpr std::string_view kProvisioner = "provisioner";

// The value of a result; the test ends with its message if there is none.
template <typename T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

// An MQTT client whose calls wait for what they began.
class RawClient {
 public:
  // `ca`: the root that the broker's certificate must come from.
  RawClient(int port, std::filesystem::path ca, std::string client_id, std::string username, std::string password);

  // Ok, or why the broker did not accept it.
  Result<void> connect();
  // True if the broker granted it.
  bool subscribe(const std::string& filter);
  // True once the broker has acknowledged it (which a denied publish is too); false if the connection was lost over it.
  bool publish(const std::string& topic, std::string_view payload);
  void disconnect();
  bool connected() const { return client_ && client_->connected(); }

  // Lets the connection live until `condition` holds; false after `limit`.
  bool until(const std::function<bool()>& condition, Millis limit = Millis(10'000));
  // Lets it live for that long.
  void listen(Millis time) {
    until([] { return false; }, time);
  }

  // All messages so far, in their order.
  const std::vector<mqtt::Message>& received() const { return received_; }
  void forget() { received_.clear(); }
  const std::string& client_id() const { return client_id_; }

 private:
  int port_;
  std::filesystem::path ca_;
  std::string client_id_, username_;
  Secret password_;
  boost::asio::io_context io_{1};
  std::unique_ptr<mqtt::Client> client_;
  std::optional<Result<bool>> connect_result_;
  std::set<int> published_;
  std::vector<std::pair<int, bool>> subscribed_;
  std::vector<mqtt::Message> received_;
};

// One request of the platform, as it came.
struct Asked {
  std::string topic;
  Bytes payload;
  std::string app;
  std::string rid;
};

// A device with the credentials of a provision request and a key of its own.
class RawDevice {
 public:
  RawDevice(const Rig& rig, const Credentials& credentials);

  // Connects and subscribes to its own tree; the test ends if the broker does not let it.
  void join();
  RawClient& client() { return client_; }

  // A complete and correct hello for its credentials; every call has another request.id, the nonce stays.
  protocol::Prov hello();
  // Publishes it and returns its request.id.
  std::string say(const protocol::Prov& hello);
  // Publishes those bytes as PROV.
  bool say_bytes(std::string_view payload);
  // The platform's answer to a PROV; nullopt if none comes within `limit`.
  std::optional<protocol::Reply> answer(const std::string& request_id, Millis limit = Millis(10'000));
  // say() and answer(); the code, 0 if there was silence.
  std::int32_t say_and_hear(const protocol::Prov& hello);

  // The requests of the platform so far, repetitions included.
  std::vector<Asked> asked() const;
  // The first request of that app; the test ends if none comes.
  Asked await(std::string_view app);
  // Replies to `asked` with `code`; `app` other than the request's own is a lie.
  void reply(const Asked& asked, std::int32_t code = 200, std::string_view app = {});
  // News of the job of a DEPLOY-V2 request.
  void notify(const Asked& download, protocol::DeployStage stage, protocol::DeployStatus status, int progress = 100,
              const std::string& error = "");
  // Whether the platform has recorded the end, as an answer to that hello.
  bool recorded(const std::string& request_id);
  // Replies 200 to everything until the platform has recorded it; false if it has not within 10 s.
  bool obey();

  std::string lifecycle_topic(const std::string& event = "PROV") const;
  const Credentials& credentials() const { return credentials_; }
  const crypto::PrivateKey& key() const { return key_; }
  void use_key(const crypto::PrivateKey& key) { key_ = key; }
  void new_nonce();

 private:
  Credentials credentials_;
  crypto::PrivateKey key_;
  Bytes nonce_;
  RawClient client_;
};

}  // namespace fleet::test
