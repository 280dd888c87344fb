#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# What tools/bench/bench.py runs in a guest: a program that compresses a file and one that compiles
# one, by themselves and under perf.  The marks around them bear the names of the program and of how
# it runs; 0 begins, 1 ends.  perf's own start and end are outside.

. /lib/check.sh

head -c 200000 /usr/bin/perf > input
# Five hundred functions.
i=0
while [ $i -lt 500 ]; do
	i=$((i + 1))
	echo "
struct s$i { unsigned long key; struct s$i *next; };
static unsigned long walk$i(const struct s$i *s, unsigned long mask)
{
	unsigned long sum = $i;
	int found = 0;

	for (; s; s = s->next) {
		if ((s->key & mask) == $i)
			found++;
		else if (s->key > mask)
			sum ^= s->key << 3;
		sum += s->key * 31 + found;
	}
	return found ? sum : sum >> 1;
}
unsigned long entry$i(struct s$i *s) { struct s$i head = { $i, s }; return walk$i(&head, ${i}00ul); }"
done > input.c

cat > gzip <<'END'
#!/bin/sh
mark label "gz-$1" 0
busybox gzip -c < input > output
mark label "gz-$1" 1
END
cat > tcc <<'END'
#!/bin/sh
mark label "cc-$1" 0
/usr/bin/tcc -c -o output.o input.c
mark label "cc-$1" 1
END
chmod +x gzip tcc

# run HOW [COMMAND...]: run the programs.  HOW has five letters at most, because a mark has eight.
run() {
	how=$1
	shift
	for program in gzip tcc; do
		"$@" ./$program "$how" > said 2>&1 || {
			note "$program, $how: $(head -n 1 said)"
			return 1
		}
	done
}
# With it, perf record does not look for its kernel's symbols, which takes most of its time, outside of
# the marks.
echo 2 > /proc/sys/kernel/kptr_restrict
check "once, so that all of it is in memory" run warm
check "something is compressed" test -s output
check "something is compiled" test -s output.o
# An interrupt more or less is seen in so short a program: bench.py takes the least.
for _ in 1 2 3; do
	check "by themselves" run plain
done
check "perf stat" run stat perf stat -o counts
check "perf stat -dd" run dd perf stat -dd -o counts
check "perf record -F 1000" run rec perf record -q -N -B --no-bpf-event -F 1000 -o data
# It takes PERF_METRICS, which only mediated vPMUs can have.
run td perf stat -a --topdown -o counts || note "no perf stat --topdown"
check_done
