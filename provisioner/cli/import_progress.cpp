#include "provisioner/cli/import_progress.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "provisioner/cli/progress.hpp"

namespace fleet::provisioner {
namespace {

constexpr Millis kBetween{200};
constexpr Millis kBeforeRate{1000};

std::string bar(std::uint64_t part, std::uint64_t all, std::size_t width) {
  const auto full = static_cast<std::size_t>(std::min(part, all) * width / all);
  std::string text = "[" + std::string(full, '#');
  for (std::size_t i = full; i < width; ++i) text += "·";
  return text + "]";
}

}  // namespace

std::string import_line(const ImportStage& stage, std::size_t width) {
  std::string text = fmt::format("{:<10}", stage.title);
  const bool known = stage.all > 0;
  if (known) text += fmt::format("{} {:3} %  ", bar(stage.part, stage.all, 20), std::min(stage.part, stage.all) * 100 / stage.all);
  text += grouped(static_cast<std::int64_t>(stage.done)) + " requests";
  if (stage.elapsed >= kBeforeRate && stage.done > 0) {
    const auto millis = static_cast<std::uint64_t>(stage.elapsed.count());
    text += fmt::format(", {}/s", grouped(static_cast<std::int64_t>(stage.done * 1000 / millis)));
    if (known && stage.part > 0 && stage.part < stage.all) {
      text += fmt::format(", {} s left", (stage.all - stage.part) * millis / stage.part / 1000 + 1);
    }
  }
  return cut(std::move(text), width);
}

void ImportProgress::begin(std::string title) {
  if (!stage_.title.empty()) lines_.push_back(import_line(stage_, Screen::width()));
  stage_ = {std::move(title)};
  begun_ = std::chrono::steady_clock::now();
  drawn_ = {};
}

void ImportProgress::show(std::uint64_t done, std::uint64_t part, std::uint64_t all) {
  const SteadyTime now = std::chrono::steady_clock::now();
  stage_.done = done;
  stage_.part = part;
  stage_.all = all;
  stage_.elapsed = std::chrono::duration_cast<Millis>(now - begun_);
  if (!possible_ || now - drawn_ < kBetween) return;
  drawn_ = now;
  draw();
}

void ImportProgress::end(std::uint64_t done, std::uint64_t part, std::uint64_t all) {
  drawn_ = {};
  show(done, part, all);
}

void ImportProgress::draw() {
  std::vector<std::string> lines = lines_;
  lines.push_back(import_line(stage_, Screen::width()));
  screen_.draw(std::move(lines));
}

}  // namespace fleet::provisioner
