#include "agent/simulator/floor.hpp"

#include <algorithm>
#include <chrono>
#include <charconv>
#include <memory>
#include <unordered_map>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/json.hpp>
#include <fmt/format.h>

#include "core/base/file.hpp"
#include "core/mqtt/client.hpp"

namespace fleet::agent {
namespace {

namespace json = boost::json;

constexpr Millis kShowEvery{250};
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
  std::vector<TracedMessage> up, down;
};

class Floor {
 public:
  Floor(const FloorOptions& options, const std::function<void(const FleetProgress&)>& show)
      : options_(options),
        show_(show),
        show_timer_(io_),
        signals_(io_, SIGINT, SIGTERM),
        platform_(io_, {.on_connect = [this](const Result<bool>& result) { platform_connected(result); },
                        .on_disconnect = [this](const Result<void>&) { stop_with({ErrorCode::kUnavailable, "the broker closed the platform's connection"}); },
                        .on_message = [this](const mqtt::Message& message) { answer(message); },
                        .on_published = {},
                        .on_subscribed =
                            [this](int, bool granted) {
                              if (!granted) return stop_with({ErrorCode::kPermissionDenied, "the broker refuses the platform's subscription: a floor needs a broker without the plugin"});
                              begin();
                            }}) {
    for (const TracedMessage& message : options.trace) (message.from_device ? script_.up : script_.down).push_back(message);
    outcome_.tally.devices = options.devices;
  }

  Result<FleetOutcome> run() {
    TRY(make_room_for_connections(options_.concurrency + 1));
    TRY_ASSIGN(tls_, provision_tls(options_.broker, options_.trust, wall_now()));
    TRY_ASSIGN(crypto::TlsContext platform_tls, provision_tls(options_.platform, options_.trust, wall_now()));
    mqtt::ConnectOptions connect;
    connect.url = options_.platform;
    connect.client_id = "floor-platform";
    connect.tls = std::move(platform_tls);
    TRY(platform_.connect(std::move(connect)));
    signals_.async_wait([this](boost::system::error_code error, int) {
      if (error) return;
      outcome_.interrupted = true;
      io_.stop();
    });
    io_.run();
    if (failure_) return fail(*failure_);
    outcome_.took = std::chrono::duration_cast<Millis>(std::chrono::steady_clock::now() - outcome_.begun);
    outcome_.cpu.push_back({"simulator", own_cpu_time() - own_before_});
    for (std::size_t i = 0; i < options_.watched.size() && i < before_.size(); ++i) {
      const auto now = cpu_time_of(options_.watched[i].pid);
      if (now && before_[i]) outcome_.cpu.push_back({options_.watched[i].name, *now - *before_[i]});
    }
    return std::move(outcome_);
  }

 private:
  struct Device {
    std::unique_ptr<mqtt::Client> client;
    Times times{};
    std::size_t received = 0;
    std::size_t heard_of = 0;  // by the platform
  };

  void platform_connected(const Result<bool>& result) {
    if (!result) return stop_with(result.error());
    if (const auto asked = platform_.subscribe(std::string(kToPlatform) + "#"); !asked) stop_with(asked.error());
  }

  void begin() {
    outcome_.begun = std::chrono::steady_clock::now();
    own_before_ = own_cpu_time();
    for (const Watched& one : options_.watched) before_.push_back(cpu_time_of(one.pid));
    show_progress();
    let_in();
  }

  void let_in() {
    while (next_ < options_.devices && devices_.size() < options_.concurrency) start(next_++);
    if (next_ == options_.devices && devices_.empty()) io_.stop();
  }

  void start(std::size_t number) {
    Device& device = devices_[number];
    device.times[static_cast<std::size_t>(Stretch::kTotal)] = std::chrono::steady_clock::now();
    ++outcome_.tally.arrived;
    device.client = std::make_unique<mqtt::Client>(
        io_, mqtt::Handlers{.on_connect =
                                [this, number](const Result<bool>& result) {
                                  if (!result) return stop_with(result.error());
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
    if (const auto begun = device.client->connect(std::move(connect)); !begun) stop_with(begun.error());
  }

  void mark(Device& device, Stretch stretch) {
    device.times[static_cast<std::size_t>(stretch)] = std::chrono::steady_clock::now();
  }

  void send_up(std::size_t number, std::size_t which) {
    const TracedMessage& message = script_.up[which];
    ++outcome_.tally.sent;
    static_cast<void>(devices_[number].client->publish(topic_of(kToPlatform, number, message.topic_size), Bytes(message.payload_size, 'x')));
  }

  void send_down(std::size_t number, std::size_t which) {
    const TracedMessage& message = script_.down[which];
    static_cast<void>(platform_.publish(topic_of(kToDevice, number, message.topic_size), Bytes(message.payload_size, 'x')));
  }

  // The platform's side: all requests upon the hello, the last word upon the last reply.
  void answer(const mqtt::Message& message) {
    std::size_t number = 0;
    const std::string_view rest = std::string_view(message.topic).substr(kToPlatform.size());
    std::from_chars(rest.data(), rest.data() + rest.size(), number);
    const auto found = devices_.find(number);
    if (found == devices_.end()) return;
    const std::size_t heard = ++found->second.heard_of;
    if (heard == 1) {
      for (std::size_t i = 0; i + 1 < script_.down.size(); ++i) send_down(number, i);
    }
    if (heard == script_.up.size()) send_down(number, script_.down.size() - 1);
  }

  void received(std::size_t number) {
    Device& device = devices_[number];
    ++outcome_.tally.received;
    const std::size_t count = ++device.received;
    if (count == 1) mark(device, Stretch::kHello);
    if (count < script_.up.size()) send_up(number, count);
    if (count + 1 == script_.down.size()) mark(device, Stretch::kInstall);
    if (count < script_.down.size()) return;
    mark(device, Stretch::kRecord);
    mark(device, Stretch::kOwner);
    outcome_.tally.add_provisioned(device.times, Behaviour::kProper, std::chrono::steady_clock::now());
    static_cast<void>(device.client->publish(topic_of("floor/dc/", number, 40), Bytes(16, 'x'), 0));
    device.client->disconnect();
  }

  void left(std::size_t number, const Result<void>& result) {
    if (!result) return stop_with(result.error());
    boost::asio::post(io_, [this, number] {
      devices_.erase(number);
      let_in();
    });
  }

  void stop_with(Error error) {
    if (!failure_) failure_ = std::move(error);
    io_.stop();
  }

  void show_progress() {
    const Tally& tally = outcome_.tally;
    show_({tally.devices, tally.arrived, tally.provisioned, 0, 0,
           std::chrono::duration_cast<Millis>(std::chrono::steady_clock::now() - outcome_.begun)});
    show_timer_.expires_after(kShowEvery);
    show_timer_.async_wait([this](boost::system::error_code error) {
      if (!error) show_progress();
    });
  }

  const FloorOptions& options_;
  const std::function<void(const FleetProgress&)>& show_;
  boost::asio::io_context io_{1};
  boost::asio::steady_timer show_timer_;
  boost::asio::signal_set signals_;
  crypto::TlsContext tls_;
  Script script_;
  FleetOutcome outcome_;
  std::chrono::microseconds own_before_{0};
  std::vector<std::optional<std::chrono::microseconds>> before_;
  std::size_t next_ = 0;
  std::optional<Error> failure_;
  std::unordered_map<std::size_t, Device> devices_;
  mqtt::Client platform_;
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
  Floor floor(options, show);
  return floor.run();
}

}  // namespace fleet::agent
