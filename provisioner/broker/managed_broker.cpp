#include "provisioner/broker/managed_broker.hpp"

#include <array>
#include <chrono>
#include <cstring>
#include <deque>
#include <signal.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fmt/ranges.h>

#include "core/base/backoff.hpp"
#include "core/base/log.hpp"
#include "core/base/secret.hpp"
#include "provisioner/broker/managed_broker_child.hpp"
#include "provisioner/broker/mosquitto_log.hpp"

namespace fleet::provisioner {
namespace asio = boost::asio;
namespace {

constexpr Millis kStopPatience{5000};
constexpr Millis kReadyPoll{20};
constexpr Seconds kStable{60};  // a broker that lived so long starts the pauses anew
constexpr std::size_t kMaxLine = 4096;
constexpr std::size_t kLastWords = 3;  // Mosquitto adds two of its own to what the plugin says

std::uint64_t random_number() {
  const Bytes bytes = random_bytes(sizeof(std::uint64_t));
  std::uint64_t number = 0;
  std::memcpy(&number, bytes.data(), sizeof number);
  return number;
}

std::string describe_end(int status) {
  if (WIFSIGNALED(status)) return fmt::format("killed by signal {}", WTERMSIG(status));
  return fmt::format("exit code {}", WEXITSTATUS(status));
}

}  // namespace

// Every handler holds the Impl and looks at `child_` or `closed_` first: what it waited for may be over.
struct ManagedBroker::Impl : std::enable_shared_from_this<ManagedBroker::Impl> {
  // One run of the program.
  struct Run {
    Run(asio::io_context& io, BrokerChild child)
        : pid(child.pid),
          process(io, child.process.release()),
          output(io, child.output.release()),
          poll(io),
          patience(io) {}

    pid_t pid;
    asio::posix::stream_descriptor process;
    asio::posix::stream_descriptor output;
    asio::steady_timer poll;
    asio::steady_timer patience;
    std::array<char, 4096> buffer{};
    std::string line;
    BrokerLog log;
    std::deque<std::string> last_words;  // its latest errors
    SteadyTime started = std::chrono::steady_clock::now();
  };

  Impl(asio::io_context& context, ManagedBrokerSettings s, ManagedBrokerHandlers h)
      : io(context), settings(std::move(s)), handlers(std::move(h)), pause(context) {}

  Result<void> prepare() {
    TRY_ASSIGN(mosquitto, find_mosquitto(settings));
    TRY(write_broker_files(settings));
    if (::access(settings.admission_db().c_str(), R_OK) != 0) {
      return fail(ErrorCode::kNotFound, "{}: the admission database must be there before the broker starts",
                  settings.admission_db().string());
    }
    TRY(stop_stale_brokers(mosquitto, settings, kStopPatience));
    TRY(check_listener(settings.listen));
    if (settings.plain_listen) TRY(check_listener(*settings.plain_listen));
    return {};
  }

  Result<void> launch() {
    TRY_ASSIGN(BrokerChild child, spawn_broker(mosquitto, settings));
    run = std::make_shared<Run>(io, std::move(child));
    log::info("broker", "started", {{"pid", run->pid}});
    watch(run);
    read(run);
    poll_ready(run);
    return {};
  }

  void watch(const std::shared_ptr<Run>& current) {
    current->process.async_wait(asio::posix::stream_descriptor::wait_read,
                                [self = shared_from_this(), current](const boost::system::error_code& error) {
                                  if (error) return;
                                  // after what was read from it at the same time
                                  asio::post(self->io, [self, current] {
                                    if (self->run == current) self->ended();
                                  });
                                });
  }

  void read(const std::shared_ptr<Run>& current) {
    current->output.async_read_some(
        asio::buffer(current->buffer),
        [self = shared_from_this(), current](const boost::system::error_code& error, std::size_t size) {
          if (error) return;
          self->take_output(*current, std::string_view(current->buffer.data(), size));
          self->read(current);
        });
  }

  void take_output(Run& current, std::string_view text) {
    for (const char c : text) {
      if (c != '\n' && current.line.size() < kMaxLine) {
        current.line += c;
      } else if (!current.line.empty()) {
        for (const auto& [level, said] : current.log.read(current.line, std::chrono::steady_clock::now())) {
          log::write(level, "broker", said);
          if (level == log::Level::kError) remember(current);
        }
        current.line.clear();
      }
    }
  }

  static void remember(Run& current) {
    if (current.last_words.size() == kLastWords) current.last_words.pop_front();
    current.last_words.push_back(current.line);
  }

  // What is still in the pipe of a process that has ended.
  void drain(Run& current) {
    std::array<char, 4096> bytes{};
    boost::system::error_code error;
    current.output.non_blocking(true, error);
    while (!error) {
      const std::size_t size = current.output.read_some(asio::buffer(bytes), error);
      take_output(current, std::string_view(bytes.data(), error ? 0 : size));
    }
    take_output(current, "\n");
  }

  void poll_ready(const std::shared_ptr<Run>& current) {
    current->poll.expires_after(kReadyPoll);
    current->poll.async_wait([self = shared_from_this(), current](const boost::system::error_code& error) {
      if (error || self->run != current || self->stopping) return;
      if (!socket_accepts(self->settings.socket())) return self->poll_ready(current);
      log::info("broker", "ready", {{"address", self->settings.listen.address}, {"port", self->settings.listen.port}});
      if (self->handlers.on_ready) self->handlers.on_ready();
    });
  }

  // Collects the process; the pidfd said that it has ended.
  void ended() {
    const std::shared_ptr<Run> current = std::exchange(run, nullptr);
    int status = 0;
    ::waitpid(current->pid, &status, 0);
    drain(*current);
    current->poll.cancel();
    current->patience.cancel();
    current->output.close();
    if (stopping) return stopped();
    if (std::chrono::steady_clock::now() - current->started > kStable) backoff.reset();
    const Millis wait = backoff.next(random_number());
    Error error{ErrorCode::kUnavailable,
                fmt::format("broker ended ({}){}{}", describe_end(status), current->last_words.empty() ? "" : ": ",
                            fmt::join(current->last_words, "; "))};
    log::error("broker", error.message, {{"restart_in", format_duration(wait)}});
    relaunch_after(wait);
    if (handlers.on_down) handlers.on_down(std::move(error));
  }

  void relaunch_after(Millis wait) {
    pause.expires_after(wait);
    pause.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
      if (error || self->closed || self->stopping) return;
      if (const auto launched = self->launch(); !launched) {
        log::error("broker", launched.error().message);
        self->relaunch_after(self->backoff.next(random_number()));
      }
    });
  }

  void stop(std::function<void()> done) {
    on_stopped = std::move(done);
    stopping = true;
    pause.cancel();
    if (!run) {
      asio::post(io, [self = shared_from_this()] { self->stopped(); });
      return;
    }
    ::kill(run->pid, SIGTERM);
    run->patience.expires_after(kStopPatience);
    run->patience.async_wait([self = shared_from_this(), current = run](const boost::system::error_code& error) {
      if (error || self->run != current) return;
      log::warn("broker", "does not end by itself: killing it", {{"pid", current->pid}});
      ::kill(current->pid, SIGKILL);
    });
  }

  void stopped() {
    if (closed) return;
    log::info("broker", "stopped");
    if (const auto done = std::exchange(on_stopped, nullptr)) done();
  }

  void close() {
    closed = true;
    handlers = {};
    on_stopped = nullptr;
    pause.cancel();
    const std::shared_ptr<Run> current = std::exchange(run, nullptr);
    if (!current) return;
    ::kill(current->pid, SIGKILL);  // not collected yet, so the number is still its own
    ::waitpid(current->pid, nullptr, 0);
    current->process.close();
    current->output.close();
    current->poll.cancel();
    current->patience.cancel();
  }

  asio::io_context& io;
  ManagedBrokerSettings settings;
  ManagedBrokerHandlers handlers;
  std::filesystem::path mosquitto;
  std::shared_ptr<Run> run;  // null between two runs
  asio::steady_timer pause;
  Backoff backoff{Millis(500), Millis(30000)};
  std::function<void()> on_stopped;
  bool stopping = false;
  bool closed = false;
};

ManagedBroker::ManagedBroker(asio::io_context& io, ManagedBrokerSettings settings, ManagedBrokerHandlers handlers)
    : impl_(std::make_shared<Impl>(io, std::move(settings), std::move(handlers))) {}

ManagedBroker::~ManagedBroker() {
  impl_->close();
}

Result<void> ManagedBroker::start() {
  TRY(impl_->prepare());
  return impl_->launch();
}

void ManagedBroker::stop(std::function<void()> on_stopped) {
  impl_->stop(std::move(on_stopped));
}

pid_t ManagedBroker::pid() const {
  return impl_->run ? impl_->run->pid : -1;
}

}  // namespace fleet::provisioner
