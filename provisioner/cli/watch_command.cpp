// watch, and the end of apply --wait: asks the service once a second how far it has come.
#include <algorithm>
#include <sysexits.h>
#include <thread>

#include <boost/json.hpp>

#include "provisioner/cli/call.hpp"
#include "provisioner/cli/commands.hpp"
#include "provisioner/cli/progress.hpp"
#include "provisioner/cli/screen.hpp"

namespace fleet::provisioner {
namespace {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;

constexpr Millis kPause{1000};
constexpr Millis kLongestPause{10'000};
constexpr Seconds kAnswerWithin{30};
// The service spends no more than this part of its time on us, however many requests it has to count.
constexpr int kShare = 4;
// So many requests that are not COMPLETED are told by name.
constexpr std::size_t kNamed = 20;

// The service is going, away or coming: it will be back.
bool is_passing(const Error& error) {
  return error.code == ErrorCode::kUnavailable || error.code == ErrorCode::kIo || error.code == ErrorCode::kTimedOut;
}

std::string title_of(const Selection& selection) {
  std::string title = selection.names.empty() ? "all requests" : fmt::format("{} requests", selection.names.size());
  if (selection.names.size() == 1) title = "request " + selection.names.front();
  for (const std::string& label : selection.labels) title += (label == selection.labels.front() ? " with " : ", ") + label;
  if (!selection.search.empty()) title += fmt::format(" that hold '{}'", selection.search);
  return printable(title);
}

std::string body_of(const Selection& selection, std::size_t unfinished) {
  json::object body{{"unfinished", unfinished}};
  if (!selection.names.empty()) body["names"] = json::value_from(selection.names);
  json::object labels;
  for (const std::string& label : selection.labels) {
    const std::size_t equals = label.find('=');
    labels[label.substr(0, equals)] = label.substr(equals + 1);
  }
  body["labels"] = std::move(labels);
  if (!selection.search.empty()) body["search"] = selection.search;
  return json::serialize(body);
}

// Shows progress as it changes: in place on a terminal, else a line a change.
class Display {
 public:
  Display(std::string title, OutputFormat format)
      : title_(std::move(title)), format_(format), in_place_(format == OutputFormat::kTable && Screen::possible()) {}

  void show(const json::object& answer) {
    progress_ = read_progress(answer);
    rate_.add(Clock::now(), progress_.completed);
    trouble_.clear();
    if (in_place_) return draw();
    std::string now = json::serialize(answer);
    if (now == last_) return;
    last_ = std::move(now);
    if (format_ == OutputFormat::kTable) {
      print(fmt::format("{}  {}\n", format_time(wall_now()), progress_line(progress_, rate_)));
    } else {
      if (format_ == OutputFormat::kYaml) print("---\n");
      print_value(progress_json(answer, progress_, rate_, wall_now()), format_);
    }
  }

  // The service does not answer.
  void show_trouble(const Error& error) {
    const std::string text = printable(fmt::format("reconnecting: {}", error.message));
    const bool told = std::exchange(trouble_, text) == text;
    if (in_place_) return draw();
    if (!told) print_error(text);
  }

 private:
  void draw() {
    const std::size_t width = Screen::width();
    std::vector<std::string> lines = progress_page(title_, progress_, rate_, width);
    if (!trouble_.empty()) lines[2] = cut(trouble_, width);
    screen_.draw(std::move(lines));
  }

  std::string title_;
  OutputFormat format_;
  bool in_place_;
  Screen screen_;
  Progress progress_;
  RateMeter rate_;
  std::string last_, trouble_;
};

Result<json::object> ask(const DataLayout& layout, const std::string& body) {
  TRY_ASSIGN(const std::string text, ask_service(layout, "POST", "/v1/progress", body, kAnswerWithin));
  boost::system::error_code error;
  json::value answer = json::parse(text, error);
  if (error || !answer.is_object()) return fail(ErrorCode::kInternal, "the service answered what is no progress");
  return std::move(answer.get_object());
}

// Why a request is not COMPLETED, and whether it still can be.
std::string reason_of(const json::object& request, WallTime now) {
  const std::string status = text_at(request, "status"), error = text_at(request, "lastError");
  if (!flag_at(request, "enabled")) return "disabled; provisioner enable request " + text_at(request, "name");
  if (const auto closes = parse_time(text_at(request, "expiresOn")); closes && *closes <= now) {
    return "expired on " + format_time(*closes) + "; set a later spec.expiresOn and apply it";
  }
  if (const auto opens = parse_time(text_at(request, "activatesOn")); opens && *opens > now) {
    return "not active before " + format_time(*opens);
  }
  if (!error.empty()) return error;
  return status == "CREATED" ? "its device was not here yet" : "in progress";
}

// Which are not COMPLETED, and why. Returns the exit code.
int report_unfinished(const json::object& answer, bool timed_out, const std::optional<Millis>& timeout) {
  const Progress progress = read_progress(answer);
  const std::int64_t unfinished = progress.total - progress.completed;
  const json::array& named = array_at(answer, "unfinished");
  const WallTime now = wall_now();
  for (const json::value& value : named) {
    if (!value.is_object()) continue;
    const json::object& request = value.get_object();
    print_error(printable(fmt::format("request {}: {}: {}", text_at(request, "name"), text_at(request, "status"),
                                      reason_of(request, now))));
  }
  if (const auto rest = unfinished - static_cast<std::int64_t>(named.size()); rest > 0) {
    print_error(fmt::format("… and {} more", grouped(rest)));
  }
  std::string what = fmt::format("{} of {} requests are COMPLETED", grouped(progress.completed),
                                 grouped(progress.total + progress.gone));
  if (progress.gone > 0) what += fmt::format(", {} are not there (any more)", grouped(progress.gone));
  if (timed_out) {
    return complain({ErrorCode::kTimedOut, fmt::format("{} after {}", what, format_duration(*timeout))}, EX_TEMPFAIL,
                    "what is in progress goes on; `provisioner watch` shows it");
  }
  return complain({ErrorCode::kConflict, what + ", the others cannot be as they are"}, EX_PROTOCOL,
                  "`provisioner describe request NAME` tells what happened and what to do");
}

struct Wait {
  bool wanted = false;
  std::optional<Millis> timeout = {};
  bool patient = false;  // also if the service does not answer the first time
};

Result<int> follow(const DataLayout& layout, const Selection& selection, const Wait& wait, OutputFormat format) {
  const std::string body = body_of(selection, wait.wanted ? kNamed : 0);
  Display display(title_of(selection), format);
  const SteadyTime begin = Clock::now();
  std::optional<json::object> last;
  while (true) {
    const SteadyTime asked = Clock::now();
    auto answer = ask(layout, body);
    if (!answer && (!is_passing(answer.error()) || (!last && !wait.patient))) return fail(std::move(answer).error());
    if (answer) {
      last = std::move(*answer);
      display.show(*last);
    } else {
      display.show_trouble(answer.error());
    }
    // a reader that has gone wants no more of it
    if (!flush_output()) return EX_OK;
    const SteadyTime now = Clock::now();
    if (wait.wanted && answer) {
      const Progress progress = read_progress(*last);
      if (progress.total == progress.completed && progress.gone == 0) return EX_OK;
      if (progress.open() == 0) return report_unfinished(*last, false, wait.timeout);
    }
    auto pause = std::clamp<Clock::duration>((now - asked) * kShare, kPause, kLongestPause);
    if (wait.timeout) {
      const Clock::duration left = begin + *wait.timeout - now;
      if (left <= Clock::duration::zero()) return report_unfinished(last.value_or(json::object()), true, wait.timeout);
      pause = std::min(pause, left);
    }
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace

Result<int> watch_requests(const DataLayout& layout, const WatchArguments& arguments, OutputFormat format) {
  return follow(layout, arguments.selection, {arguments.wait, arguments.timeout, false}, format);
}

Result<int> wait_for_requests(const DataLayout& layout, std::vector<std::string> names, std::optional<Millis> timeout) {
  if (names.empty()) return EX_OK;
  Selection applied;
  applied.names = std::move(names);
  return follow(layout, applied, {true, timeout, true}, OutputFormat::kTable);
}

}  // namespace fleet::provisioner
