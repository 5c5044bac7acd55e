// Command language writes the JSON Schema and the reference of the language and
// of the connectors.
package main

import (
	"fmt"
	"os"

	"valence/atom/steps"
	"valence/connectors/all"
	"valence/processes"
	"valence/processes/language"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: language SCHEMA REFERENCE CONNECTORS")
		os.Exit(2)
	}
	catalog := &processes.Catalog{Steps: steps.Kinds(), Connectors: all.Registry("")}
	err := os.WriteFile(os.Args[1], language.Schema(catalog), 0o644)
	if err == nil {
		err = os.WriteFile(os.Args[2], language.Reference(catalog), 0o644)
	}
	if err == nil {
		err = os.WriteFile(os.Args[3], language.ConnectorReference(catalog), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
