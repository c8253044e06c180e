#include "agent/simulator/floor.hpp"

#include <algorithm>
#include <chrono>
#include <charconv>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/json.hpp>
#include <fmt/format.h>

#include "agent/simulator/device_queue.hpp"
#include "core/base/file.hpp"
#include "core/mqtt/client.hpp"

namespace fleet::agent {
namespace {

namespace json = boost::json;

constexpr std::string_view kToPlatform = "floor/up/";
constexpr std::string_view kToDevice = "floor/down/";

// A topic of the wanted length: PREFIX NUMBER /xxx…
std::string topic_of(std::string_view prefix, std::size_t number, std::size_t size) {
  std::string topic = fmt::format("{}{}/", prefix, number);
  topic.resize(std::max(size, topic.size() + 1), 'x');
  return topic;
}

// The conversation, as the protocol has it: PROV; then all requests at once; a reply to each; then the last word.
struct Script {
  explicit Script(const std::vector<TracedMessage>& trace) {
    for (const TracedMessage& message : trace) (message.from_device ? up : down).push_back(message);
  }
  std::vector<TracedMessage> up, down;
};

// The one who answers. On the crew's home.
class Platform {
 public:
  Platform(boost::asio::io_context& home, const Script& script, std::function<void(Error)> on_failure)
      : home_(home),
        script_(script),
        on_failure_(std::move(on_failure)),
        client_(home, {.on_connect = [this](const Result<bool>& result) { connected(result); },
                       .on_disconnect = [this](const Result<void>&) { failed({ErrorCode::kUnavailable, "the broker closed the platform's connection"}); },
                       .on_message = [this](const mqtt::Message& message) { answer(message); },
                       .on_published = {},
                       .on_subscribed =
                           [this](int, bool granted) {
                             if (!granted) return failed({ErrorCode::kPermissionDenied, "the broker refuses the platform's subscription: a floor needs a broker without the plugin"});
                             ready_ = true;
                           }}) {}

  // Returns when it hears what devices say.
  Result<void> connect(mqtt::ConnectOptions options) {
    TRY(client_.connect(std::move(options)));
    while (!ready_ && !failure_ && home_.run_one() > 0) {
    }
    if (failure_) return fail(*failure_);
    return {};
  }

 private:
  void connected(const Result<bool>& result) {
    if (!result) return failed(result.error());
    if (const auto asked = client_.subscribe(std::string(kToPlatform) + "#"); !asked) failed(asked.error());
  }

  void failed(Error error) {
    failure_ = error;
    if (ready_) on_failure_(std::move(error));
  }

  // All requests upon the hello, the last word upon the last reply.
  void answer(const mqtt::Message& message) {
    std::size_t number = 0;
    const std::string_view rest = std::string_view(message.topic).substr(kToPlatform.size());
    std::from_chars(rest.data(), rest.data() + rest.size(), number);
    const std::size_t heard = ++heard_of_[number];
    if (heard == 1) {
      for (std::size_t i = 0; i + 1 < script_.down.size(); ++i) send(number, i);
    }
    if (heard < script_.up.size()) return;
    send(number, script_.down.size() - 1);
    heard_of_.erase(number);
  }

  void send(std::size_t number, std::size_t which) {
    const TracedMessage& message = script_.down[which];
    static_cast<void>(client_.publish(topic_of(kToDevice, number, message.topic_size), Bytes(message.payload_size, 'x')));
  }

  boost::asio::io_context& home_;
  const Script& script_;
  const std::function<void(Error)> on_failure_;
  std::unordered_map<std::size_t, std::size_t> heard_of_;  // messages of each device that has not said all yet
  std::optional<Error> failure_;
  bool ready_ = false;
  mqtt::Client client_;
};

// The devices of one thread.
class FloorSquad {
 public:
  FloorSquad(Crew& crew, std::size_t part, const FloorOptions& options, const Script& script, const crypto::TlsContext& tls,
             DeviceQueue& queue)
      : crew_(crew),
        part_(part),
        options_(options),
        script_(script),
        tls_(tls),
        concurrency_(share_of(options.concurrency, part, crew.parts())),
        tally_(crew.tally(part)),
        queue_(queue) {}

  void let_in() {
    while (devices_.size() < concurrency_) {
      const auto number = queue_.take();
      if (!number) break;
      start(*number);
    }
    if (devices_.empty()) crew_.ended(part_);
  }

 private:
  struct Device {
    std::unique_ptr<mqtt::Client> client;
    Times times{};
    std::size_t received = 0;
  };

  void start(std::size_t number) {
    Device& device = devices_[number];
    device.times[static_cast<std::size_t>(Stretch::kTotal)] = std::chrono::steady_clock::now();
    ++tally_.arrived;
    device.client = std::make_unique<mqtt::Client>(
        crew_.io(part_), mqtt::Handlers{.on_connect =
                                            [this, number](const Result<bool>& result) {
                                              if (!result) return crew_.stop(result.error());
                                              static_cast<void>(devices_[number].client->subscribe(fmt::format("{}{}/#", kToDevice, number)));
                                            },
                                        .on_disconnect = [this, number](const Result<void>& result) { left(number, result); },
                                        .on_message = [this, number](const mqtt::Message&) { received(number); },
                                        .on_published = {},
                                        .on_subscribed =
                                            [this, number](int, bool) {
                                              mark(devices_[number], Stretch::kConnect);
                                              send_up(number, 0);
                                            }});
    mqtt::ConnectOptions connect;
    connect.url = options_.broker;
    connect.client_id = fmt::format("floor-{}", number);
    connect.username = connect.client_id;
    connect.password = Secret("floor");
    connect.tls = tls_;
    connect.will = mqtt::Will{topic_of("floor/lwt/", number, 40), Bytes(16, 'x')};
    if (const auto begun = device.client->connect(std::move(connect)); !begun) crew_.stop(begun.error());
  }

  void mark(Device& device, Stretch stretch) {
    device.times[static_cast<std::size_t>(stretch)] = std::chrono::steady_clock::now();
  }

  void send_up(std::size_t number, std::size_t which) {
    const TracedMessage& message = script_.up[which];
    ++tally_.sent;
    static_cast<void>(devices_[number].client->publish(topic_of(kToPlatform, number, message.topic_size), Bytes(message.payload_size, 'x')));
  }

  void received(std::size_t number) {
    Device& device = devices_[number];
    ++tally_.received;
    const std::size_t count = ++device.received;
    if (count == 1) mark(device, Stretch::kHello);
    if (count < script_.up.size()) send_up(number, count);
    if (count + 1 == script_.down.size()) mark(device, Stretch::kInstall);
    if (count < script_.down.size()) return;
    mark(device, Stretch::kRecord);
    mark(device, Stretch::kOwner);
    tally_.add_provisioned(device.times, Behaviour::kProper, std::chrono::steady_clock::now());
    static_cast<void>(device.client->publish(topic_of("floor/dc/", number, 40), Bytes(16, 'x'), 0));
    device.client->disconnect();
  }

  void left(std::size_t number, const Result<void>& result) {
    if (!result) return crew_.stop(result.error());
    boost::asio::post(crew_.io(part_), [this, number] {
      devices_.erase(number);
      let_in();
    });
  }

  Crew& crew_;
  const std::size_t part_;
  const FloorOptions& options_;
  const Script& script_;
  const crypto::TlsContext& tls_;
  const std::size_t concurrency_;
  Tally& tally_;
  DeviceQueue& queue_;
  std::unordered_map<std::size_t, Device> devices_;
};

// What a conversation needs to be played: a hello first, at least one request, no more replies than requests.
bool is_whole(const std::vector<TracedMessage>& trace) {
  const auto up = static_cast<std::size_t>(std::count_if(trace.begin(), trace.end(), [](const auto& m) { return m.from_device; }));
  const std::size_t down = trace.size() - up;
  return !trace.empty() && trace.front().from_device && down >= 2 && up >= 1 && up <= down;
}

}  // namespace

Result<void> write_trace(const std::filesystem::path& file, const std::vector<TracedMessage>& trace) {
  if (!is_whole(trace)) return fail(ErrorCode::kInvalidArgument, "no proper device was provisioned: there is no trace to write");
  json::array messages;
  for (const TracedMessage& message : trace) {
    messages.push_back(json::object{{"from", message.from_device ? "device" : "platform"}, {"topic", message.topic_size}, {"payload", message.payload_size}});
  }
  return write_file(file, json::serialize(json::object{{"messages", std::move(messages)}}) + "\n", 0644);
}

Result<std::vector<TracedMessage>> read_trace(const std::filesystem::path& file) {
  TRY_ASSIGN(const Bytes text, read_file(file));
  const Error malformed{ErrorCode::kMalformed, file.string() + ": no trace of `fleet-sim run --trace`"};
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  const json::object* const object = error ? nullptr : value.if_object();
  const json::value* const messages = object != nullptr ? object->if_contains("messages") : nullptr;
  if (messages == nullptr || !messages->is_array()) return fail(malformed);
  std::vector<TracedMessage> trace;
  for (const json::value& one : messages->get_array()) {
    const json::object* const message = one.if_object();
    if (message == nullptr) return fail(malformed);
    const json::value* const from = message->if_contains("from");
    const json::value* const topic = message->if_contains("topic");
    const json::value* const payload = message->if_contains("payload");
    if (from == nullptr || !from->is_string() || topic == nullptr || !topic->is_int64() || payload == nullptr || !payload->is_int64()) return fail(malformed);
    const std::int64_t topic_size = topic->get_int64(), payload_size = payload->get_int64();
    if (topic_size < 0 || topic_size > 65'535 || payload_size < 0 || payload_size > 1'048'576) return fail(malformed);
    trace.push_back({from->get_string() == "device", static_cast<std::size_t>(topic_size), static_cast<std::size_t>(payload_size)});
  }
  if (!is_whole(trace)) return fail(malformed);
  return trace;
}

Result<FleetOutcome> run_floor(const FloorOptions& options, const std::function<void(const FleetProgress&)>& show) {
  if (options.concurrency == 0 || options.devices == 0) return fail(ErrorCode::kInvalidArgument, "--devices and --concurrency: at least 1");
  const CrewOptions crew_options = with_use_for(options.crew, options.devices, options.concurrency);
  TRY(make_room_for_connections(options.concurrency + 1, crew_options.threads));
  TRY_ASSIGN(const crypto::TlsContext tls, provision_tls(options.broker, options.trust, wall_now()));
  const Script script(options.trace);
  Crew crew(crew_options, show);
  Platform platform(crew.home(), script, [&crew](Error error) { crew.stop(std::move(error)); });
  mqtt::ConnectOptions connect;
  connect.url = options.platform;
  connect.client_id = "floor-platform";
  TRY_ASSIGN(connect.tls, provision_tls(options.platform, options.trust, wall_now()));
  TRY(platform.connect(std::move(connect)));

  std::vector<std::unique_ptr<FloorSquad>> squads;
  DeviceQueue queue(options.devices);
  for (std::size_t i = 0; i < crew.parts(); ++i) squads.push_back(std::make_unique<FloorSquad>(crew, i, options, script, tls, queue));
  crew.tally(0).devices = options.devices;
  return crew.run([&](std::size_t part) { squads[part]->let_in(); });
}

}  // namespace fleet::agent
