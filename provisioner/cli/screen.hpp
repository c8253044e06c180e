// A few lines of a terminal that are drawn again in their place. Private to provisioner/cli.
#pragma once

#include <string>
#include <vector>

namespace fleet::provisioner {

// Nothing of the terminal's state is changed (no other screen, no hidden cursor, no colours): whenever the program ends,
// also by Ctrl-C, the last picture stays and the prompt comes below it.
class Screen {
 public:
  // Whether standard output is a terminal that can do this.
  static bool possible();
  // Of the terminal, now.
  static std::size_t width();

  // In place of what was drawn last. Lines are no wider than width(); what does not fit in height is left out.
  void draw(std::vector<std::string> lines);

 private:
  std::size_t drawn_ = 0;  // lines
  std::size_t width_ = 0;  // when they were drawn
};

}  // namespace fleet::provisioner
