// Command expressions writes the reference of expressions.
package main

import (
	"fmt"
	"os"

	"valence/internal/expression"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: expressions FILE")
		os.Exit(2)
	}
	page, err := expression.Reference()
	if err == nil {
		err = os.WriteFile(os.Args[1], page, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
