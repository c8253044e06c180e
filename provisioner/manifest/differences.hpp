// In what a request would change by an apply, and what sort of change that is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "provisioner/provisioning/model.hpp"

namespace fleet::provisioner {

// A field in which a manifest and the request that it names differ.
struct Difference {
  enum class Sort : std::uint8_t {
    kPermission,  // when and how often the device may come
    kContent,     // what it gets: an attempt that is open has it already
    kSecret,      // what it has to know
  };
  std::string_view name;  // for a person
  std::string_view path;  // in the manifest
  Sort sort;
};

// Of all that a manifest says but the status, which is an act, and client id and username, which never change.
std::vector<Difference> differences_of(const ProvisionRequest& old, const ProvisionRequest& request);

// "labels, params"
std::string in_words(const std::vector<Difference>& differences);

}  // namespace fleet::provisioner
