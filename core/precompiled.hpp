// Precompiled for all libraries (core/precompiled.cmake): what nearly every source includes, directly or not. Sources
// still include what they use: the build of the agent alone does without.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/format.h>
#include <tl/expected.hpp>
