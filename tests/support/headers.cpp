// The source that CMake needs to precompile the header for (tests/CMakeLists.txt).
#include "tests/support/headers.hpp"
