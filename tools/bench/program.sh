#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# What tools/bench/bench.py runs in a guest: a program that compresses a file, by itself and under
# perf.  The marks around it bear the name of how it runs; 0 begins, 1 ends.  perf's own start and
# end are outside.

. /lib/check.sh

head -c 400000 /usr/bin/perf > input
cat > work <<'END'
#!/bin/sh
mark label "$1" 0
busybox gzip -c < input > output
mark label "$1" 1
END
chmod +x work

# run NAME [COMMAND...]: run the program once before, so that all of it is in memory.
run() {
	name=$1
	shift
	"$@" ./work warm > said 2>&1 && "$@" ./work "$name" > said 2>&1 || {
		note "$name: $(head -n 1 said)"
		return 1
	}
}
check "by itself" run plain
check "by itself, again" run plain2
check "perf stat" run stat perf stat -o counts
check "perf stat -dd" run statdd perf stat -dd -o counts
check "perf record -F 1000" run record perf record -q -N -B -F 1000 -o data
# It takes PERF_METRICS, which only mediated vPMUs can have.
run topdown perf stat -a --topdown -o counts || note "no perf stat --topdown"
check_done
