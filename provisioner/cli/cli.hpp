// The command line of `provisioner`.
#pragma once

namespace fleet::provisioner {

// Runs a command and returns its exit code (sysexits.h): 0 done, 64 usage, 65 what was given is wrong and nothing was
// changed, 69 the service does not run, 70 a defect of ours, 74 input/output, 75 try again later, 77 permission, 78
// configuration.
int run_cli(int argc, const char* const* argv);

}  // namespace fleet::provisioner
