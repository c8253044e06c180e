#include "agent/simulator/crew.hpp"

#include <algorithm>
#include <exception>
#include <signal.h>
#include <sys/resource.h>
#include <thread>
#include <utility>

#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

namespace fleet::agent {
namespace {

constexpr Millis kTellEvery{250};

FleetProgress progress_of(const Tally& tally) {
  return {tally.devices, tally.arrived, tally.provisioned, tally.stopped, tally.attempts_failed, Millis(0)};
}

}  // namespace

struct Crew::Part {
  explicit Part(std::size_t which) : number(which) {}

  const std::size_t number;
  boost::asio::io_context io{1};
  Tally tally;
  boost::asio::steady_timer tell_timer{io};
  bool ended = false;
  FleetProgress last_told;  // home's
};

struct Crew::Watch {
  explicit Watch(boost::asio::io_context& home) : signals(home, SIGINT, SIGTERM), show_timer(home), limit_timer(home) {}

  boost::asio::signal_set signals;
  boost::asio::steady_timer show_timer;
  boost::asio::steady_timer limit_timer;
};

// Ended and waited for, however the scope is left.
struct Crew::Threads {
  explicit Threads(Crew& of) : crew(of) {}
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  ~Threads() {
    for (const auto& part : crew.parts_) part->io.stop();
    for (std::thread& thread : running) thread.join();
  }

  Crew& crew;
  std::vector<std::thread> running;
};

Crew::Crew(CrewOptions options, std::function<void(const FleetProgress&)> show)
    : options_(std::move(options)), show_(std::move(show)) {
  for (std::size_t i = 0; i < options_.threads; ++i) parts_.push_back(std::make_unique<Part>(i));
}

Crew::~Crew() = default;

boost::asio::io_context& Crew::io(std::size_t part) {
  return parts_[part]->io;
}

Tally& Crew::tally(std::size_t part) {
  return parts_[part]->tally;
}

void Crew::ended(std::size_t part) {
  Part& mine = *parts_[part];
  if (std::exchange(mine.ended, true)) return;
  mine.tell_timer.cancel();
  boost::asio::post(home_, [this, &mine, last = progress_of(mine.tally)] {
    mine.last_told = last;
    if (++ended_ == parts_.size()) home_.stop();
  });
}

void Crew::stop(Error why) {
  boost::asio::post(home_, [this, why = std::move(why)]() mutable {
    if (!failure_) failure_ = std::move(why);
    home_.stop();
  });
}

void Crew::interrupt() {
  interrupted_ = true;
  home_.stop();
}

Result<FleetOutcome> Crew::run(const std::function<void(std::size_t part)>& begin) {
  watch_ = std::make_unique<Watch>(home_);
  begun_ = std::chrono::steady_clock::now();
  std::vector<std::optional<std::chrono::microseconds>> before;
  for (const Watched& one : options_.watched) before.push_back(cpu_time_of(one.pid));
  const auto own_before = own_cpu_time();
  watch_->signals.async_wait([this](boost::system::error_code error, int) {
    if (!error) interrupt();
  });
  if (options_.time_limit > Seconds(0)) {
    watch_->limit_timer.expires_after(options_.time_limit);
    watch_->limit_timer.async_wait([this](boost::system::error_code error) {
      if (!error) interrupt();
    });
  }
  for (const auto& part : parts_) part->last_told = progress_of(part->tally);
  show_progress();

  {
    Threads threads(*this);
    for (const auto& part : parts_) threads.running.emplace_back([this, &part, &begin] { work(*part, begin); });
    home_.run();
  }
  watch_.reset();
  if (failure_) return fail(*failure_);

  FleetOutcome outcome;
  outcome.begun = begun_;
  outcome.took = std::chrono::duration_cast<Millis>(std::chrono::steady_clock::now() - begun_);
  outcome.interrupted = interrupted_;
  outcome.cpu.push_back({"simulator", own_cpu_time() - own_before});
  for (std::size_t i = 0; i < options_.watched.size(); ++i) {
    const auto now = cpu_time_of(options_.watched[i].pid);
    if (now && before[i]) outcome.cpu.push_back({options_.watched[i].name, *now - *before[i]});
  }
  for (const auto& part : parts_) {
    part->last_told = progress_of(part->tally);
    outcome.tally.add(part->tally);
  }
  show_(progress());
  return outcome;
}

void Crew::work(Part& part, const std::function<void(std::size_t part)>& begin) {
  try {
    tell_progress(part);
    begin(part.number);
    part.io.run();
  } catch (const std::exception& exception) {
    stop(Error{ErrorCode::kInternal, exception.what()});
  }
}

void Crew::tell_progress(Part& part) {
  part.tell_timer.expires_after(kTellEvery);
  part.tell_timer.async_wait([this, &part](boost::system::error_code error) {
    if (error) return;
    boost::asio::post(home_, [&part, now = progress_of(part.tally)] { part.last_told = now; });
    tell_progress(part);
  });
}

void Crew::show_progress() {
  show_(progress());
  watch_->show_timer.expires_after(kTellEvery);
  watch_->show_timer.async_wait([this](boost::system::error_code error) {
    if (!error) show_progress();
  });
}

FleetProgress Crew::progress() const {
  FleetProgress sum;
  for (const auto& part : parts_) {
    const FleetProgress& told = part->last_told;
    sum.devices += told.devices;
    sum.arrived += told.arrived;
    sum.provisioned += told.provisioned;
    sum.stopped += told.stopped;
    sum.attempts_failed += told.attempts_failed;
  }
  sum.elapsed = std::chrono::duration_cast<Millis>(std::chrono::steady_clock::now() - begun_);
  return sum;
}

std::chrono::microseconds own_cpu_time() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto micros = [](const timeval& time) {
    return std::chrono::microseconds(std::int64_t{time.tv_sec} * 1'000'000 + time.tv_usec);
  };
  return micros(usage.ru_utime) + micros(usage.ru_stime);
}

std::size_t usual_threads() {
  return std::max(std::thread::hardware_concurrency(), 1U);
}

}  // namespace fleet::agent
