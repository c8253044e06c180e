// The command line of fleet-sim.
#pragma once

namespace fleet::agent {

// Runs it; the exit code, as sysexits(3) where there is one for it. 0: every device ended as its behaviour has it.
int run_fleet_sim(int argc, const char* const* argv);

}  // namespace fleet::agent
