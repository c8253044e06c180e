#include "provisioner/cli/progress.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "provisioner/cli/output.hpp"

namespace fleet::provisioner {
namespace {

namespace json = boost::json;

constexpr Seconds kWindow{60};
constexpr Seconds kShortest{2};

// What it means for a person that requests are in that state.
std::string_view meaning(std::string_view status) {
  if (status == "CREATED") return "waiting for their devices";
  if (status == "COMPLETED") return "provisioned";
  if (status == "FAILED") return "their devices try again by themselves";
  if (status == "ABANDONED") return "given up: provisioner retry request NAME";
  if (status == "SKIPPED" || status == "STOPPING" || status == "STOPPED") return "stopped by an operator";
  return "in progress";
}

// 12 of 20, and never 100 % before all is done.
int percent(const Progress& progress) {
  return progress.total == 0 ? 0 : static_cast<int>(progress.completed * 100 / progress.total);
}

std::string bar(const Progress& progress, std::size_t width) {
  const auto all = static_cast<std::int64_t>(width);
  const std::int64_t done = progress.total == 0 ? 0 : progress.completed * all / progress.total;
  const std::int64_t lost = progress.total == 0 ? 0 : (progress.stuck * all + progress.total - 1) / progress.total;
  std::string text(static_cast<std::size_t>(done), '#');
  const auto marked = static_cast<std::size_t>(std::min(lost, all - done));
  text.append(width - text.size() - marked, '.');
  return "[" + text + std::string(marked, 'x') + "]";
}

std::string shut_out(const Progress& progress) {
  std::string text;
  const auto add = [&](std::int64_t count, std::string_view what) {
    if (count > 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", grouped(count), what);
  };
  add(progress.disabled, "disabled");
  add(progress.expired, "expired");
  add(progress.not_yet, "not yet active");
  add(progress.gone, "deleted");
  return text;
}

// `text` in lines of `width` characters, broken at blanks, three at most.
std::vector<std::string> wrapped(std::string text, std::size_t width) {
  constexpr std::size_t kLines = 3;
  std::vector<std::string> lines;
  while (lines.size() + 1 < kLines && cut(text, width) != text) {
    const std::size_t blank = cut(text, width).rfind(' ');
    if (blank == std::string::npos || blank == 0) break;
    lines.push_back(text.substr(0, blank));
    text.erase(0, blank + 1);
  }
  lines.push_back(cut(std::move(text), width));
  return lines;
}

std::string pace(const Progress& progress, const RateMeter& rate) {
  if (progress.total > 0 && progress.open() == 0) {
    return progress.stuck == 0 ? "all are provisioned" : "the others wait for an operator";
  }
  const auto per_minute = rate.per_minute();
  if (!per_minute) return "";
  if (*per_minute <= 0) return "none in the last minute";
  std::string text = fmt::format("{} a minute", *per_minute < 10 ? fmt::format("{:.1f}", *per_minute)
                                                                 : grouped(std::llround(*per_minute)));
  if (const auto left = rate.time_for(progress.open())) text += fmt::format(", about {} left", format_age(*left));
  return text;
}

}  // namespace

Progress read_progress(const json::object& answer) {
  Progress progress;
  progress.total = number_at(answer, "total");
  progress.stuck = number_at(answer, "stuck");
  progress.gone = number_at(answer, "gone");
  progress.disabled = number_at(answer, "disabled");
  progress.expired = number_at(answer, "expired");
  progress.not_yet = number_at(answer, "notYet");
  const json::object& statuses = object_at(answer, "statuses");
  for (const auto& [status, count] : statuses) progress.statuses.emplace_back(status, number_at(statuses, status));
  progress.completed = number_at(statuses, "COMPLETED");
  for (const json::value& value : array_at(answer, "reasons")) {
    if (!value.is_object()) continue;
    const json::object& reason = value.get_object();
    progress.reasons.push_back(
        {printable(text_at(reason, "cause")), number_at(reason, "requests"), printable(text_at(reason, "example"))});
  }
  return progress;
}

void RateMeter::add(SteadyTime at, std::int64_t completed) {
  // fewer than before: some were armed again or deleted, and what was counted says nothing of what comes
  if (!samples_.empty() && completed < samples_.back().second) samples_.clear();
  samples_.emplace_back(at, completed);
  while (samples_.size() > 2 && at - samples_[1].first >= kWindow) samples_.pop_front();
}

std::optional<double> RateMeter::per_minute() const {
  if (samples_.empty()) return std::nullopt;
  const std::chrono::duration<double> span = samples_.back().first - samples_.front().first;
  if (span < kShortest) return std::nullopt;
  return static_cast<double>(samples_.back().second - samples_.front().second) * 60.0 / span.count();
}

std::optional<Millis> RateMeter::time_for(std::int64_t open) const {
  const auto rate = per_minute();
  if (!rate || *rate <= 0) return std::nullopt;
  return Millis(std::llround(static_cast<double>(open) * 60'000.0 / *rate));
}

std::vector<std::string> progress_page(const std::string& title, const Progress& progress, const RateMeter& rate,
                                       std::size_t width) {
  std::vector<std::string> lines{title};
  const std::string counts =
      fmt::format("{:3} %  {} of {} completed", percent(progress), grouped(progress.completed), grouped(progress.total));
  const std::size_t bar_width = width > counts.size() + 14 ? std::min<std::size_t>(width - counts.size() - 4, 50) : 10;
  lines.push_back(bar(progress, bar_width) + " " + counts);
  lines.push_back(pace(progress, rate));
  lines.emplace_back();
  for (const auto& [status, count] : progress.statuses) {
    lines.push_back(fmt::format("  {:<16}{:>11}  {}", status, grouped(count), meaning(status)));
  }
  if (const std::string others = shut_out(progress); !others.empty()) lines.push_back("  shut out: " + others);
  if (!progress.reasons.empty()) {
    lines.emplace_back();
    lines.emplace_back("  Why they fail, most frequent first");
    for (const Progress::Reason& reason : progress.reasons) {
      std::string margin = fmt::format("  {:>9}  ", grouped(reason.requests));
      const std::size_t room = width > margin.size() + 20 ? width - margin.size() : 20;
      for (const std::string& part : wrapped(reason.cause, room)) {
        lines.push_back(margin + part);
        margin.assign(margin.size(), ' ');
      }
      lines.push_back(fmt::format("{}for one: provisioner describe request {}", margin, reason.example));
    }
  }
  for (std::string& line : lines) line = cut(std::move(line), width);
  return lines;
}

std::string progress_line(const Progress& progress, const RateMeter& rate) {
  std::string text = fmt::format("{} of {} completed, {} %", progress.completed, progress.total, percent(progress));
  std::string states;
  for (const auto& [status, count] : progress.statuses) {
    states += fmt::format("{}{} {}", states.empty() ? "" : ", ", status, count);
  }
  if (!states.empty()) text += "; " + states;
  if (const std::string others = shut_out(progress); !others.empty()) text += "; shut out: " + others;
  if (const std::string speed = pace(progress, rate); !speed.empty()) text += "; " + speed;
  if (!progress.reasons.empty()) {
    text += fmt::format("; most fail for: {} ({})", progress.reasons.front().cause, progress.reasons.front().requests);
  }
  return text;
}

json::object progress_json(json::object answer, const Progress& progress, const RateMeter& rate, WallTime now) {
  answer["at"] = format_time(now);
  answer["completed"] = progress.completed;
  answer.erase("unfinished");
  if (const auto per_minute = rate.per_minute()) answer["perMinute"] = std::llround(*per_minute);
  if (const auto left = rate.time_for(progress.open())) answer["secondsLeft"] = left->count() / 1000;
  return answer;
}

std::string grouped(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t at = digits.size(); at > 3 && digits[at - 4] != '-'; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

std::string cut(std::string text, std::size_t width) {
  std::size_t characters = 0, keep = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool begins = (static_cast<unsigned char>(text[i]) & 0xC0U) != 0x80U;
    if (!begins) continue;
    ++characters;
    if (characters == width) keep = i;
  }
  if (characters <= width || width == 0) return text;
  return text.substr(0, keep) + "…";
}

}  // namespace fleet::provisioner
