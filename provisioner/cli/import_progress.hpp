// How far a long import has come, drawn in place on a terminal; silent elsewhere. Private to provisioner/cli.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/time.hpp"
#include "provisioner/cli/screen.hpp"

namespace fleet::provisioner {

struct ImportStage {
  std::string title;                // "checking"
  std::uint64_t done = 0;           // requests
  std::uint64_t part = 0, all = 0;  // of the work, in any unit; all 0: not known
  Millis elapsed{};
};

// "applying   [#####·····]  48 %  480,000 requests, 21,000/s, 25 s left", no wider than `width` characters.
std::string import_line(const ImportStage& stage, std::size_t width);

class ImportProgress {
 public:
  // A new stage, below the ones before.
  void begin(std::string title);
  void show(std::uint64_t done, std::uint64_t part, std::uint64_t all);
  // As show(), however soon after the last one.
  void end(std::uint64_t done, std::uint64_t part, std::uint64_t all);

 private:
  void draw();

  const bool possible_ = Screen::possible();
  Screen screen_;
  std::vector<std::string> lines_;  // of the stages before
  ImportStage stage_;
  SteadyTime begun_{}, drawn_{};
};

}  // namespace fleet::provisioner
