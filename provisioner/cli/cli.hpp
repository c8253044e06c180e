// The command line of `provisioner`.
#pragma once

namespace fleet::provisioner {

// Runs a command and returns its exit code (sysexits.h): 0 done, 64 usage, 65 what was given is wrong and nothing was
// changed, 66 a file that was named cannot be read, 69 the service does not run, 70 a defect of ours, 73 a file that
// was named cannot be made, 74 input/output, also where results did not get out, 75 try again later (also: --timeout is
// over), 76 --wait: some requests are abandoned, disabled, expired or deleted and will not be COMPLETED as they are, 77
// permission, 78 configuration.
int run_cli(int argc, const char* const* argv);

}  // namespace fleet::provisioner
