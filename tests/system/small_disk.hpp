// A file system that a test can fill.
#pragma once

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sched.h>
#include <string>
#include <sys/mount.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include "tests/system/rig.hpp"

namespace fleet::test {

// From now on what this process mounts is seen by it and its children only, and gone with them.
inline bool have_own_mounts() {
  static const bool have =
      ::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  return have;
}

// A small file system of its own under a folder; what was in the folder moves into it. Empty if this machine does not
// let the test mount one: the test then has nothing to say, and says so.
class SmallDisk {
 public:
  SmallDisk(const std::filesystem::path& folder, const std::string& size) : folder_(folder) {
    std::filesystem::create_directories(folder);
    const std::filesystem::path aside = folder.string() + ".aside";
    expect_ok(run({"cp", "-a", folder.string(), aside.string()}), "cp");
    mounted_ =
        have_own_mounts() && ::mount("tmpfs", folder.c_str(), "tmpfs", 0, ("size=" + size + ",mode=0711").c_str()) == 0;
    if (!mounted_) MESSAGE("skipped: cannot mount a tmpfs here: " << std::strerror(errno));
    if (mounted_) expect_ok(run({"cp", "-a", aside.string() + "/.", folder.string()}), "cp");
    std::filesystem::remove_all(aside);
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(folder_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  bool mounted() const { return mounted_; }
  // Leaves that many pages of 4 KiB.
  void fill(int pages_left = 0) {
    const int fd = ::open((folder_ / "filler").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0);
    const std::string page(4096, 'x');
    off_t size = 0;
    while (::write(fd, page.data(), page.size()) == static_cast<ssize_t>(page.size())) size += 4096;
    REQUIRE(::ftruncate(fd, std::max<off_t>(0, size - 4096 * pages_left)) == 0);
    ::close(fd);
  }
  void free() { std::filesystem::remove(folder_ / "filler"); }

 private:
  std::filesystem::path folder_;
  bool mounted_ = false;
};

}  // namespace fleet::test
