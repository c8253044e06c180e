# What a run of bench.sh measured (its lines, slurped) held against what is aimed at: one object for each number. Where one is
# missed and the run knows why, `why` says it in what was measured.

def of($name): map(select(.bench == $name)) | last;
def cut: . * 1000 | round / 1000;
# EXPRESSION gives null where nothing was measured; a reason may be null, and is looked for only where one is needed.
def bar($name; $value; $met; $aim; why):
  if $value == null then empty
  else {bar: $name, measured: ($value | cut), aimedAt: $aim, met: $met} + (if $met then {} else (why as $why | if $why == null then {} else {$why} end) end)
  end;
def least($name; $value; $aim; why): bar($name; $value; $value != null and $value >= $aim; "at least \($aim)"; why);
def most($name; $value; $aim; why): bar($name; $value; $value != null and $value <= $aim; "at most \($aim)"; why);
def range_of($name): map(select(.bench == $name) | .cpuMicrosOfAll) | "\(min) to \(max) us";
def us: "\(. // 0 | round) us";
# What the parts, which nobody can leave out, leave of what is aimed at.
def left($aim; $parts; $for): if $parts >= $aim then "\($parts | us), which is all of it before anything is decided"
  else "\($parts | us), which leaves \($aim - $parts | us) for \($for)" end;

. as $all
| (map(select(.bench == "machine")) | sort_by(.signMicros) | .[length / 2 | floor]) as $machine
| (map(select(.bench == "floor_tls")) | sort_by(.perSecond) | .[length / 2 | floor]) as $floor
| of("provision_tls_median") as $tls
| (of("cells_1_median") // {}) as $one
| (of("cells_2_median") // {}) as $two
| map(select(.bench | test("^population_.*_median$"))) as $populations
| ($floor // {} | .cpuMicrosPerDevice // {} | .broker + .simulator) as $floor_cpu
| ($tls // {} | .cpuMicrosPerDevice // {} | .broker + .simulator + .provisioner) as $all_cpu
# what nobody can leave out of the provisioner: six messages and a certificate to sign, a signing request to verify, the rows
| ($machine // {} | 7 * (.busySignMicros // 0) + (.busyVerifyMicros // 0)) as $signing
| (of("rows").sqlite3Micros // 0) as $rows
# a device checks the signatures of five messages; its TLS is in the floor too
| ($machine // {} | 5 * (.busyVerifyMicros // 0)) as $checking
| least("provision_tls, devices/s"; $tls.perSecond; 1000;
    "two processors have 2000 us for each of 1000 devices a second. Here the broker alone and the simulator, with nobody to decide, take \($floor_cpu // 0 | us), which makes \($floor.perSecond)/s; the signatures of five messages to check \($checking | us) more, seven to make and that of a signing request to check \($signing | us), and the rows in the store, written by sqlite3 itself, \($rows | us): \($floor_cpu + $checking + $signing + $rows | us) before anything is decided. The aim counts on 14 us a signature; here one takes \($machine.signMicros) us"),
  least("provision_tls, ratio to the floor"; $tls.ratioToFloor; 0.55;
    "a device takes \($all_cpu // 0 | us) of all processes; at 0.55 of the floor it would be \($floor_cpu / 0.55 | us). Beyond what the floor has too, it checks the signatures of five messages, which are \($checking | us), and the provisioner takes \($tls.cpuMicrosPerDevice.provisioner | us)"),
  most("provision_tls, us of the provisioner"; $tls.cpuMicrosPerDevice.provisioner; 350;
    "seven signatures and the check of a signing request take \($signing | us), the rows in the store, written by sqlite3 itself, \($rows | us); together \(left(350; $signing + $rows; "twelve messages through MQTT and all that decides")). It counts on 14 us a signature, 25 of which are 350 us; here one takes \($machine.signMicros) us, and 25 are \(25 * $machine.signMicros | us)"),
  most("provision_tls, us of provisioner and broker"; (if $tls then $tls.cpuMicrosPerDevice | .provisioner + .broker else null end); 1000;
    "the broker alone, without the plugin, takes \($floor.cpuMicrosPerDevice.broker | us), and the provisioner\u0027s signatures and rows by themselves \($signing + $rows | us); together \(left(1000; $floor.cpuMicrosPerDevice.broker + $signing + $rows; "the plugin, the provisioner\u0027s messages and all that decides")). It counts on 14 us a signature; here one takes \($machine.signMicros) us"),
  most("provision_tls, broker to the floor\u0027s"; $tls.brokerCpuToFloor; 1.2; null),
  most("provision_tls, p99 to p50"; $tls.p99ToP50; 3; null),
  least("storm, devices provisioned"; of("storm").devices; 20000; null),
  least("storm, last half to the first"; of("storm").lastHalfToFirst; 0.8; null),
  most("cells, cost of a device with two to one"; (if $one.cpuMicrosOfAll and $two.cpuMicrosOfAll then $two.cpuMicrosOfAll / $one.cpuMicrosOfAll else null end); 1;
    "all but the simulator took \($all | range_of("cells_1")) in the rounds of one cell and \($all | range_of("cells_2")) in those of two, which make \($one.perSecond) and \($two.perSecond) devices a second. What a cell changes the other one reads and writes into its own projection, which one alone need not do: the provisioners took \($one.provisionersCpuMicros) us and \($two.provisionersCpuMicros) us, PostgreSQL \($one.postgresCpuMicros) us and \($two.postgresCpuMicros) us, with \($one.commitsPerDevice) and \($two.commitsPerDevice) transactions a device. And more programs share the processors: the brokers, whose work is the same, took \($one.brokersCpuMicros) us and \($two.brokersCpuMicros) us (with nothing behind them \(of("cells_1_bare_median").brokersCpuMicros) us and \(of("cells_2_bare_median").brokersCpuMicros) us), the simulator \($one.cpuMicrosPerDevice.simulator | us) and \($two.cpuMicrosPerDevice.simulator | us). As a multiple of the brokers\u0027 share a device cost \($one.cpuMicrosOfAll / $one.brokersCpuMicros | cut) and \($two.cpuMicrosOfAll / $two.brokersCpuMicros | cut)"),
  most("agent, MiB resident"; of("agent").rssMiB; 10; null),
  most("agent, MiB stripped"; of("agent").strippedMiB; 4; null),
  most("agent, wake-ups/s"; of("agent").wakeUpsPerSecond; 1; null),
  (of("import_csv", "import_yaml") | select(. != null)
    | most("\(.bench), seconds for 1000000"; .seconds * 1000000 / .requests; (if .bench == "import_csv" then 60 else 120 end);
        "a request takes \(.cpuMicrosPerRequest.service | us) of the service and \(.cpuMicrosPerRequest.cli | us) of the command line")),
  least("population, rate to the smallest one\u0027s"; (if $populations == [] then null else $populations[-1].perSecond / $populations[0].perSecond end); 0.9;
    "the provisioner took \($populations[0].cpuMicrosPerDevice.provisioner | us) of processor a device with the smallest population and \($populations[-1].cpuMicrosPerDevice.provisioner | us) with the largest"),
  most("population, ms from start to ready"; ($populations | map(.startToReadyMs) | max); 5000; null),
  most("population, MiB of the provisioner"; ($all | map(select(.bench | startswith("population_")) | .peakRssMiB // empty) | max); 250; null)
