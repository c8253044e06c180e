// A source that uses the precompiled header: without one CMake would not make it, since doctest_main.cpp cannot.
#include "tests/support/headers.hpp"
