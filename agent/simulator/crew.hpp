// The threads of a simulated fleet, and who looks after them.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "agent/simulator/outcome.hpp"
#include "core/base/result.hpp"

namespace fleet::agent {

struct CrewOptions {
  std::size_t threads = 1;
  Seconds time_limit{0};  // 0: none
  std::vector<Watched> watched;
};

// Each part of a fleet has a thread, an io_context and a tally of its own, and shares nothing that changes with the others.
// Home is the thread that calls run(): it shows progress, and waits for signals and for the time limit. What lives on an
// io_context is destroyed before the crew is.
class Crew {
 public:
  Crew(CrewOptions options, std::function<void(const FleetProgress&)> show);
  ~Crew();
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  std::size_t parts() const { return parts_.size(); }
  boost::asio::io_context& home() { return home_; }
  boost::asio::io_context& io(std::size_t part);
  // Of a part. How many devices there are is filled in before run(), in the tally of any; afterwards only on the part's thread.
  Tally& tally(std::size_t part);

  // On the part's thread: all its devices have ended, and no others will come. Once is enough; more often changes nothing.
  void ended(std::size_t part);
  // From any thread: ends run() at once; the first reason is its error.
  void stop(Error why);

  // Calls `begin` on the thread of each part and returns when all have ended, on SIGINT or SIGTERM, when the time is over, or
  // when stopped. `show` is called four times a second, and at the end of a run that was not stopped.
  Result<FleetOutcome> run(const std::function<void(std::size_t part)>& begin);

 private:
  struct Part;
  struct Threads;
  void work(Part& part, const std::function<void(std::size_t part)>& begin);
  void tell_progress(Part& part);
  void show_progress();
  void interrupt();
  FleetProgress progress() const;

  const CrewOptions options_;
  const std::function<void(const FleetProgress&)> show_;
  boost::asio::io_context home_;
  std::vector<std::unique_ptr<Part>> parts_;
  // --- home's
  struct Watch;
  std::unique_ptr<Watch> watch_;
  SteadyTime begun_;
  std::size_t ended_ = 0;
  std::optional<Error> failure_;
  bool interrupted_ = false;
};

// CPU time of this process so far.
std::chrono::microseconds own_cpu_time();

// One for each processor.
std::size_t usual_threads();

}  // namespace fleet::agent
