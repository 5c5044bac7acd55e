// Command language writes the JSON Schema and the reference of the language.
package main

import (
	"fmt"
	"os"

	"valence/atom/steps"
	"valence/connectors/all"
	"valence/processes"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: language SCHEMA REFERENCE")
		os.Exit(2)
	}
	catalog := &processes.Catalog{Steps: steps.Kinds(), Connectors: all.Registry("")}
	err := os.WriteFile(os.Args[1], processes.Schema(catalog), 0o644)
	if err == nil {
		err = os.WriteFile(os.Args[2], processes.Reference(catalog), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
