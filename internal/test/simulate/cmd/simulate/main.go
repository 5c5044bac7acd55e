// Command simulate simulates a large fleet; see docs/explanation/scale.md.
package main

import (
	"flag"
	"fmt"
	"os"

	"valence/internal/test/simulate"
)

func main() {
	c := simulate.Measured
	flag.IntVar(&c.Atoms, "atoms", 100_000, "atoms")
	flag.IntVar(&c.Groups, "groups", 1_000, "groups")
	flag.IntVar(&c.Members, "members", 3, "members of each group")
	flag.IntVar(&c.Planes, "planes", 3, "control planes")
	flag.IntVar(&c.Cores, "cores", 2, "cores of each control plane")
	flag.DurationVar(&c.Poll, "poll", c.Poll, "processor time of a poll")
	flag.Parse()
	if err := simulate.Report(os.Stdout, c); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
