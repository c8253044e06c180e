#include "provisioner/cli/screen.hpp"

#include <cstdlib>
#include <sys/ioctl.h>
#include <unistd.h>

#include <fmt/format.h>

#include "core/base/console.hpp"

namespace fleet::provisioner {
namespace {

struct Size {
  std::size_t width = 80, height = 24;
};

Size size_now() {
  winsize found{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &found) != 0 || found.ws_col == 0 || found.ws_row == 0) return {};
  return {found.ws_col, found.ws_row};
}

}  // namespace

bool Screen::possible() {
  const char* const terminal = std::getenv("TERM");
  return ::isatty(STDOUT_FILENO) == 1 && terminal != nullptr && *terminal != '\0' && std::string_view(terminal) != "dumb";
}

std::size_t Screen::width() {
  return size_now().width;
}

void Screen::draw(std::vector<std::string> lines) {
  const Size size = size_now();
  // the cursor stands below the last line
  if (lines.size() >= size.height) lines.resize(size.height - 1);
  std::string text;
  // In a terminal of another width the old lines may stand broken anywhere: they are left alone.
  if (drawn_ > 0 && width_ == size.width) text = fmt::format("\x1b[{}A\r", drawn_);
  for (const std::string& line : lines) text += line + "\x1b[K\n";
  text += "\x1b[J";
  print(text);
  drawn_ = lines.size();
  width_ = size.width;
}

}  // namespace fleet::provisioner
