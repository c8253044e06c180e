// How far a selection of requests has come, in words, bars and numbers. Knows no terminal and no clock. Private to
// provisioner/cli.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/json/object.hpp>

#include "core/base/time.hpp"

namespace fleet::provisioner {

// The answer of POST /v1/progress.
struct Progress {
  struct Reason {
    std::string cause;
    std::int64_t requests = 0;
    std::string example;
  };
  std::int64_t total = 0, completed = 0, stuck = 0, gone = 0;
  std::int64_t disabled = 0, expired = 0, not_yet = 0;
  std::vector<std::pair<std::string, std::int64_t>> statuses;  // in the order of a request's life
  std::vector<Reason> reasons;                                 // the most frequent first

  // What can still be COMPLETED without an operator.
  std::int64_t open() const { return total - completed - stuck; }
};
Progress read_progress(const boost::json::object& answer);

// How fast requests get COMPLETED: over the last minute, as far as it was watched.
class RateMeter {
 public:
  void add(SteadyTime at, std::int64_t completed);
  // Devices a minute; nothing before two seconds were watched.
  std::optional<double> per_minute() const;
  // How long `open` requests take at this rate; nothing if that cannot be said.
  std::optional<Millis> time_for(std::int64_t open) const;

 private:
  std::deque<std::pair<SteadyTime, std::int64_t>> samples_;
};

// A page of lines, none wider than `width` characters.
std::vector<std::string> progress_page(const std::string& title, const Progress& progress, const RateMeter& rate,
                                       std::size_t width);
// The same in one line.
std::string progress_line(const Progress& progress, const RateMeter& rate);
// The same for programs: the service's answer with "at", "completed", and, once known, "perMinute" and "secondsLeft".
boost::json::object progress_json(boost::json::object answer, const Progress& progress, const RateMeter& rate, WallTime now);

// "12,345"
std::string grouped(std::int64_t number);
// `text` cut to `width` characters; what is cut off ends with "…".
std::string cut(std::string text, std::size_t width);

}  // namespace fleet::provisioner
