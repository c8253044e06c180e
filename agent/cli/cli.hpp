// The command line of provision-agent.
#pragma once

namespace fleet::agent {

// Runs the command and returns its exit code (sysexits.h): 0 done; 3 `status`: not provisioned; 64 wrong
// usage; 69 gave up; 70 a defect; 74 I/O; 75 try again later; 77 permission denied; 78 settings or state need a person.
// Results go to stdout, errors to stderr as "error: what: why" and a hint.
int run_cli(int argc, const char* const* argv);

}  // namespace fleet::agent
