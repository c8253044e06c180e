// CMake makes a precompiled header for a source of its owner.
#include "core/precompiled.hpp"
